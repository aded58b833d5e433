"""Measure the curves of docs/mrc.md and write docs/results/mrc_gpt-oss-20b.json; then write the results into the page.

MOESIM_DATA=FOLDER python docs/make_mrc.py     measure (needs the recorded traces and numba) and write
python docs/make_mrc.py --page                 write the page from the committed results
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "mrc_gpt-oss-20b.json"
PAGE = ROOT / "docs" / "mrc.md"
IMPORT = (
    "moesim trace import gpt-oss-20b_decode.npz --out gpt-oss.safetensors --model gpt-oss-20b --num-experts 32 "
    "--prompt-tokens none --map context_start=prompt_len --map sequence_category=category"
)
SIZES = "5%,10%,15%,20%,25%,30%,40%,50%,60%,75%,90%"
MRC = f"moesim mrc gpt-oss.safetensors --model gpt-oss-20b --sizes {SIZES} --json"
TIMED = {
    "all layers, each with its own slots, at every size": "moesim mrc gpt-oss.safetensors --policies none --scope per_layer",
    "one cache for all layers, at every size": "moesim mrc gpt-oss.safetensors --policies none --scope global",
    "both, the best split, and Belady at eleven sizes": "moesim mrc gpt-oss.safetensors",
}
_REPEATS = 3


def measure(data: Path) -> dict[str, object]:
    """Run the commands on the recorded trace; keep what the page shows, and how long they took."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "gpt-oss-20b_decode.npz").symlink_to(data / "traces" / "gpt-oss-20b_decode.npz")
        environment = os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(Path(folder, "compiled"))}
        run(IMPORT, folder, environment)
        first_s = timed(next(iter(TIMED.values())), folder, environment)
        seconds = {
            name: min(timed(command, folder, environment) for _ in range(_REPEATS)) for name, command in TIMED.items()
        }
        facts = json.loads(run(MRC, folder, environment))
    for scope in facts["scopes"]:
        sizes = scope["curves"][-1]["size_experts"]
        scope.pop("lru_of_banks")
        for curve in scope["curves"]:
            at = dict(zip(curve["size_experts"], curve["hits"], strict=True))
            curve |= {"size_experts": sizes, "hits": [at.get(size, 0) for size in sizes]}
            curve.pop("slots_of_banks", None)
    return {
        "commands": [IMPORT, MRC, *TIMED.values()],
        "facts": facts,
        "machine": _machine(),
        "first_s": first_s,
        "seconds": seconds,
    }


def run(command: str, folder: str, environment: Mapping[str, str]) -> str:
    """Run one command with this interpreter's moesim and return what it prints."""
    arguments = ["-c", "from simulator.cli import main; main()", *command.split()[1:]]
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, check=True, stdout=subprocess.PIPE, text=True, env=dict(environment)
    ).stdout


def timed(command: str, folder: str, environment: Mapping[str, str]) -> float:
    """Return the seconds that a command takes, from its start to its end."""
    started_s = time.perf_counter()
    run(command, folder, environment)
    return time.perf_counter() - started_s


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return f"{name}, {os.cpu_count()} cores"


def curves_table(results: Mapping[str, object]) -> str:
    """Return the page's table of miss ratios."""
    facts = results["facts"]
    assert isinstance(facts, dict)
    each = facts["expert_bytes"]
    columns = [
        (f"{curve['policy']}, {scope['scope'].replace('_', ' ')}", scope, curve)
        for scope in facts["scopes"]
        for curve in scope["curves"]
    ]
    rows = [
        "| experts | share | cache | " + " | ".join(name for name, _, _ in columns) + " |",
        "|---|---|---|" + "---|" * len(columns),
    ]
    first = facts["scopes"][0]
    for at, size in enumerate(first["curves"][0]["size_experts"]):
        ratios = [1 - curve["hits"][at] / scope["accesses"] for _, scope, curve in columns]
        rows.append(
            f"| {size} | {size / first['num_experts']:.0%} | {size * each / 2**30:.2f} GiB | "
            + " | ".join(f"{ratio:.1%}" for ratio in ratios)
            + " |"
        )
    return "\n".join(rows)


def speed_table(results: Mapping[str, object]) -> str:
    """Return the page's table of times."""
    facts, seconds = results["facts"], results["seconds"]
    assert isinstance(facts, dict)
    assert isinstance(seconds, dict)
    rows = [
        f"{facts['scopes'][0]['accesses']:,} accesses, whole commands by the wall clock, on {results['machine']}:",
        "",
        "| what | seconds |",
        "|---|---|",
        *(f"| {name} | {taken:.1f} |" for name, taken in seconds.items()),
        f"| the first of these, compiling for the first time | {results['first_s']:.1f} |",
    ]
    return "\n".join(rows)


def page(text: str) -> str:
    """Return the page with the committed results in it."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    for name, block in (("gpt-oss", curves_table(results)), ("speed", speed_table(results))):
        begin, end = f"<!-- {name}: written by docs/make_mrc.py -->", f"<!-- end of {name} -->"
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(end)
        text = f"{head}{begin}\n{block}\n{end}{tail}"
    return text


def main() -> None:
    """Measure if asked to, and write the page."""
    if "--page" not in sys.argv:
        data = os.environ.get("MOESIM_DATA")
        if data is None:
            sys.exit("set MOESIM_DATA to the folder of recorded traces, or give --page")
        RESULTS.write_text(json.dumps(measure(Path(data)), indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
