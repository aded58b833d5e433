"""Run what the README shows and write docs/results/*.json; then write the results into the README.

MOESIM_DATA=FOLDER python docs/make_results.py     simulate (needs the recorded traces) and write
python docs/make_results.py --readme               write the README from the committed results
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "gpt-oss-20b_rtx-4090.json"
README = ROOT / "README.md"
FRACTIONS = ("0.25", "0.5")
IMPORT = (
    "moesim trace import gpt-oss-20b_decode.npz --out gpt-oss.safetensors --model gpt-oss-20b --num-experts 32 "
    "--prompt-tokens none --map context_start=prompt_len --map sequence_category=category"
)
RUN = (
    "moesim run --trace gpt-oss.safetensors --model gpt-oss-20b --hardware rtx-4090 --cache-frac {frac} "
    "--max-tokens 12000 --json"
)


def simulate(data: Path) -> dict[str, object]:
    """Run the README's commands on the recorded trace and return their summaries."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "gpt-oss-20b_decode.npz").symlink_to(data / "traces" / "gpt-oss-20b_decode.npz")
        run(IMPORT, folder)
        runs = {frac: json.loads(run(RUN.format(frac=frac), folder)) for frac in FRACTIONS}
    return {"commands": [IMPORT, *(RUN.format(frac=frac) for frac in FRACTIONS)], "summaries": runs}


def run(command: str, folder: str) -> str:
    """Run one command with this interpreter's moesim and return what it prints."""
    arguments = ["-c", "from simulator.cli import main; main()", *command.split()[1:]]
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def readme_table(results: Mapping[str, object]) -> str:
    """Return the README's table of the committed results."""
    summaries = results["summaries"]
    assert isinstance(summaries, dict)
    rows = [
        "| experts resident | tokens/s | TPOT p50 | ITL p99 | hit rate | time spent waiting for experts |",
        "|---|---|---|---|---|---|",
    ]
    for frac, summary in summaries.items():
        waiting = summary["attribution_ns"]["exposed_demand_fetch"] / summary["makespan_ns"]
        rows.append(
            f"| {float(frac):.0%} ({summary['cache']['bytes'] / 2**30:.1f} GiB) "
            f"| {summary['throughput_tokens_per_s']:.1f} | {summary['tpot_s']['p50'] * 1e3:.1f} ms "
            f"| {summary['itl_s']['p99'] * 1e3:.1f} ms | {summary['hit_frac']:.1%} | {waiting:.0%} |"
        )
    return "\n".join(rows)


def with_block(text: str, name: str, block: str) -> str:
    """Return `text` with what stands between the markers of `name` replaced."""
    begin, end = f"<!-- {name}: written by docs/make_results.py -->", f"<!-- end of {name} -->"
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n{block}\n{end}{tail}"


def readme(text: str) -> str:
    """Return the README's text with its results written afresh."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    return with_block(text, "gpt-oss", readme_table(results))


def main() -> None:
    """Write what the command line asks for."""
    if "--readme" not in sys.argv:
        results = simulate(Path(os.environ["MOESIM_DATA"]))
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    README.write_text(readme(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
