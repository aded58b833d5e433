"""Run the studies of examples/studies on a recorded trace and write docs/results/studies.json; then the page and its plots.

MOESIM_DATA=FOLDER python docs/make_studies.py     simulate (needs the recorded traces) and write
python docs/make_studies.py --page                 write docs/studies.md and its plots from the committed results
"""

import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "studies.json"
PAGE = ROOT / "docs" / "studies.md"
PLOTS = ROOT / "docs" / "images"
STUDIES = ("cache_and_link", "system_for_machine", "predictor")
IMPORT = str(runpy.run_path(str(ROOT / "docs" / "make_results.py"))["IMPORT"])
SWEEP = (
    "moesim sweep examples/studies/{name}.yaml --set trace=gpt-oss.safetensors --set model=gpt-oss-20b "
    "--out results/{name}"
)
FIGURES = ("throughput_tokens_per_s", "tpot_p50_s", "hit_frac", "busy_h2d_frac")
ORACLE = "oracle_prefetch"
ON_DEMAND = "on_demand"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8a8f98")
_ABOUT = 0.1

Rows = Sequence[Mapping[str, object]]


def simulate(data: Path) -> dict[str, object]:
    """Run the page's commands on the recorded trace; keep each point's place and main figures."""
    studies = {}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "gpt-oss-20b_decode.npz").symlink_to(data / "traces" / "gpt-oss-20b_decode.npz")
        for name in ("examples", "traces"):
            Path(folder, name).symlink_to(ROOT / name)
        run(IMPORT, folder)
        for name in STUDIES:
            run(SWEEP.format(name=name), folder)
            table = json.loads(Path(folder, "results", name, "points.json").read_text(encoding="utf-8"))
            rows = [{key: row[key] for key in (*table["axes"], *FIGURES)} for row in table["rows"]]
            studies[name] = {"command": SWEEP.format(name=name), "axes": table["axes"], "rows": rows}
    return {"import": IMPORT, "studies": studies}


def run(command: str, folder: str) -> None:
    """Run one command with this interpreter's moesim."""
    arguments = ["-c", "from simulator.cli import main; main()", *command.split()[1:]]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *arguments], cwd=folder, check=True, stdout=subprocess.PIPE, env=environment)


def blocks(results: Mapping[str, object]) -> dict[str, str]:
    """Return what the page shows of the results, by the names of its places."""
    studies = _mapping(results["studies"])
    rows = {name: _rows(_mapping(studies[name])["rows"]) for name in STUDIES}
    commands = [str(results["import"]), *(str(_mapping(studies[name])["command"]) for name in STUDIES)]
    return {
        "commands": "```sh\n" + "\n".join(map(_folded, commands)) + "\n```",
        "cache-and-link": _part(*cache_and_link(rows["cache_and_link"]), "cache_and_link"),
        "system-for-machine": _part(*system_for_machine(rows["system_for_machine"]), "system_for_machine"),
        "predictor": _part(*predictor(rows["predictor"]), "predictor"),
    }


def cache_and_link(rows: Rows) -> tuple[str, str]:
    """Return the answer to the first question and its table."""
    tpot = {(_number(row["cache.frac"]), str(row["pcie"])): _ms(row) for row in rows}
    hits = {_number(row["cache.frac"]): _number(row["hit_frac"]) for row in rows}
    shares, links = list(dict.fromkeys(share for share, _ in tpot)), list(dict.fromkeys(link for _, link in tpot))
    (first, second, third, fourth, last), (_, now, then, _) = shares, links
    answer = (
        f"On {_link(now)} with {first:.0%} of the experts resident, the next link takes TPOT from {tpot[first, now]:.1f} to "
        f"{tpot[first, then]:.1f} ms and the next cache size to {tpot[second, now]:.1f} ms: "
        f"{_more(tpot[first, then], tpot[second, now], 'the link', 'cache')}; with {third:.0%} they take it from "
        f"{tpot[third, now]:.1f} to {tpot[third, then]:.1f} and {tpot[fourth, now]:.1f} ms: "
        f"{_more(tpot[third, then], tpot[fourth, now], 'the link', 'cache')}. With {last:.0%} resident, the hit rate is "
        f"{hits[last]:.1%} and all links lie between {tpot[last, links[0]]:.1f} and {tpot[last, links[-1]]:.1f} ms, while "
        f"with {first:.0%} the span is {tpot[first, links[0]]:.1f} to {tpot[first, links[-1]]:.1f} ms."
    )
    table = [["experts resident", "hits", *map(_link, links)]]
    table += [
        [f"{share:.0%}", f"{hits[share]:.1%}", *(f"{tpot[share, link]:.1f}" for link in links)] for share in shares
    ]
    return answer, _table(table)


def system_for_machine(rows: Rows) -> tuple[str, str]:
    """Return the answer to the second question and its table."""
    tpot = {(str(row["system"]), str(row["hardware"])): _ms(row) for row in rows}
    systems, machines = list(dict.fromkeys(name for name, _ in tpot)), list(dict.fromkeys(name for _, name in tpot))
    real = [system for system in systems if system != ORACLE]
    best = {machine: min(real, key=lambda system: tpot[system, machine]) for machine in machines}
    wins = {system: [machine for machine in machines if best[machine] == system] for system in real}
    won = [system for system in sorted(real, key=lambda system: -len(wins[system])) if wins[system]]
    gains = [1 - tpot[best[machine], machine] / tpot[ON_DEMAND, machine] for machine in machines]
    above = [tpot[best[machine], machine] / tpot[ORACLE, machine] - 1 for machine in machines]
    cpu = [tpot["fiddler", machine] / tpot[ON_DEMAND, machine] - 1 for machine in machines]
    answer = (
        f"{'; '.join(f'`{system}` is the fastest on {_listed(wins[system])}' for system in won)}: TPOT is {min(gains):.0%} "
        f"to {max(gains):.0%} below that of `{ON_DEMAND}`, and {min(above):.0%} to {max(above):.0%} above the oracle's. "
        f"Computing on the CPU what is missing (`fiddler`), in place of fetching it, changes TPOT by {min(cpu):+.0%} "
        f"({machines[cpu.index(min(cpu))]}) to {max(cpu):+.0%} ({machines[cpu.index(max(cpu))]})."
    )
    table = [["system", *machines]]
    table += [
        [
            f"`{system}`",
            *(
                f"**{tpot[system, name]:.1f}**" if best[name] == system else f"{tpot[system, name]:.1f}"
                for name in machines
            ),
        ]
        for system in systems
    ]
    return answer, _table(table)


def predictor(rows: Rows) -> tuple[str, str]:
    """Return the answer to the third question and its table."""
    shares = list(dict.fromkeys(_number(row["cache.frac"]) for row in rows))
    told = [(_number(row["cache.frac"]), _predictor(row), _ms(row)) for row in rows]
    tpot = {(share, name): value for share, name, value in told}
    names = list(dict.fromkeys(name for _, name, _ in told))
    few, half = shares
    perfect, nearly = "oracle, recall 1.0, precision 1.0", "oracle, recall 1.0, precision 0.95"
    careful = "oracle, recall 0.5, precision 1.0"
    faster = {share: [name for name in names if tpot[share, name] < tpot[share, "none"]] for share in shares}
    imprecise = [name for name in faster[half] + faster[few] if "oracle" in name and "precision 1.0" not in name]
    gates = [name for name in faster[half] if name.startswith("gate")]
    answer = (
        f"With {half:.0%} resident ({tpot[half, 'none']:.1f} ms without prefetch), knowing the next layer's experts takes "
        f"TPOT to {tpot[half, perfect]:.1f} ms, knowing half of them for certain to {tpot[half, careful]:.1f} ms, and "
        f"naming one wrong in twenty to {tpot[half, nearly]:.1f} ms; with {few:.0%} resident the link is busy already, and "
        f"the first takes it from {tpot[few, 'none']:.1f} to {tpot[few, perfect]:.1f} ms. So a predictor has to be precise "
        f"rather than complete: of the oracles with a precision below 1, {len(imprecise) or 'none'} "
        f"gain{'' if len(imprecise) > 1 else 's'} anything, and with {half:.0%} resident gate lookahead "
        f"{'gains from a recall of ' + gates[0].split()[-1] + ' on' if gates else 'gains nothing either'}."
    )
    table = [["what is known of the next layer", *(f"{share:.0%} resident" for share in shares)]]
    table += [[name, *(f"{tpot[share, name]:.1f}" for share in shares)] for name in names]
    return answer, _table(table)


def plots(results: Mapping[str, object]) -> dict[str, str]:
    """Return the page's plots by the names of their files."""
    studies = _mapping(results["studies"])
    first, second, third = (_rows(_mapping(studies[name])["rows"]) for name in STUDIES)
    by_link: dict[str, list[tuple[float, float]]] = {}
    for row in first:
        by_link.setdefault(_link(str(row["pcie"])), []).append((_number(row["cache.frac"]) * 100, _ms(row)))
    machines = list(dict.fromkeys(str(row["hardware"]) for row in second))
    on_demand = {str(row["hardware"]): _ms(row) for row in second if row["system"] == ON_DEMAND}
    by_system: dict[str, list[tuple[float, float]]] = {}
    for row in second:
        machine = str(row["hardware"])
        by_system.setdefault(str(row["system"]), []).append((machines.index(machine), _ms(row) / on_demand[machine]))
    by_recall: dict[str, list[tuple[float, float]]] = {}
    for row in third:
        choice = yaml.safe_load(str(row["prefetch"]))
        if _number(row["cache.frac"]) != 0.5:
            continue
        if choice == "none":
            by_recall["no prefetch"] = [(0.75, _ms(row)), (1.0, _ms(row))]
        elif isinstance(choice, dict):
            by_recall.setdefault(f"recall {choice['recall']}", []).append((choice["precision"], _ms(row)))
    return {
        "cache_and_link.svg": svg(by_link, x="experts resident, %", y="TPOT, ms"),
        "system_for_machine.svg": svg(by_system, x="", y=f"TPOT over that of {ON_DEMAND}", places=machines),
        "predictor.svg": svg(by_recall, x="precision of the oracle, half of the experts resident", y="TPOT, ms"),
    }


def svg(series: Mapping[str, Sequence[tuple[float, float]]], *, x: str, y: str, places: Sequence[str] = ()) -> str:
    """Return lines with markers as SVG; over named places, markers alone. The y axis begins at 0."""
    width, height, left, right, top, bottom = 720, 400, 60, 180, 15, 55
    points = [point for line in series.values() for point in line]
    low, high = min(at for at, _ in points), max(at for at, _ in points)
    most = max(value for _, value in points) * 1.05
    step = next(size for size in (0.25, 0.5, 1, 2, 5, 10, 20, 50) if most / size <= 8)
    margin = 0.5 if places else 0.0

    def across(at: float) -> str:
        share = (at - low + margin) / (high - low + 2 * margin)
        return f"{left + share * (width - left - right):.1f}"

    def down(value: float) -> str:
        return f"{height - bottom - value / most * (height - top - bottom):.1f}"

    ticks: list[tuple[float, str]] = [(place, name) for place, name in enumerate(places)]
    if not places:
        ticks = [(at, f"{at:g}") for at in dict.fromkeys(at for at, _ in points)]
    parts = []
    for number in range(int(most / step) + 1):
        at = down(number * step)
        parts.append(f'<path d="M{left} {at}H{width - right}" stroke="#888" stroke-opacity=".25"/>')
        parts.append(f'<text x="{left - 6}" y="{at}" dy=".35em" text-anchor="end">{number * step:g}</text>')
    for tick, name in ticks:
        parts.append(f'<text x="{across(tick)}" y="{height - bottom + 18}" text-anchor="middle">{escape(name)}</text>')
    parts.append(f'<text x="{(left + width - right) / 2}" y="{height - 12}" text-anchor="middle">{escape(x)}</text>')
    parts.append(f'<text transform="translate(16 {height / 2}) rotate(-90)" text-anchor="middle">{escape(y)}</text>')
    for place, (name, line) in enumerate(series.items()):
        colour, beside = _COLOURS[place % len(_COLOURS)], top + 10 + 20 * place
        if not places:
            path = "L".join(f"{across(here)} {down(value)}" for here, value in line)
            parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across(here)}" cy="{down(value)}" r="4" fill="{colour}"/>' for here, value in line]
        parts.append(f'<circle cx="{width - right + 16}" cy="{beside}" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{width - right + 26}" y="{beside}" dy=".35em">{escape(name)}</text>')
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" '
        f'fill="#777">\n{body}\n</svg>\n'
    )


def page(text: str) -> str:
    """Return the page's text with the committed results in it."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    for name, block in blocks(results).items():
        begin, end = f"<!-- {name}: written by docs/make_studies.py -->", f"<!-- end of {name} -->"
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(end)
        text = f"{head}{begin}\n{block}\n{end}{tail}"
    return text


def main() -> None:
    """Simulate if asked to, and write the page and its plots."""
    if "--page" not in sys.argv:
        data = os.environ.get("MOESIM_DATA")
        if data is None:
            sys.exit("set MOESIM_DATA to the folder of recorded traces, or give --page")
        RESULTS.write_text(json.dumps(simulate(Path(data)), indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    for name, plot in plots(json.loads(RESULTS.read_text(encoding="utf-8"))).items():
        (PLOTS / name).write_text(plot, encoding="utf-8")


def _part(answer: str, table: str, plot: str) -> str:
    return f"{answer}\n\n{table}\n\n![the table as a plot](images/{plot}.svg)"


def _predictor(row: Mapping[str, object]) -> str:
    """Return what a row's prefetch knows, in words."""
    choice = yaml.safe_load(str(row["prefetch"]))
    if isinstance(choice, dict):
        return f"oracle, recall {choice['recall']}, precision {choice['precision']}"
    if row["lookahead"] is None:
        return str(choice)
    return f"gate lookahead, recall {yaml.safe_load(str(row['lookahead']))['recall'][0]}"


def _more(one: float, other: float, name: str, other_name: str) -> str:
    """Say which of two changes leaves less time."""
    if abs(one - other) <= _ABOUT * min(one, other):
        return "about the same"
    return f"{name if one < other else other_name} helps more"


def _link(preset: str) -> str:
    return f"PCIe {preset.removeprefix('gen').replace('x', '.0 x')}"


def _folded(command: str) -> str:
    """Return a command on lines that are not too long."""
    return (
        command
        if len(command) <= 110
        else command.replace(" --prompt-tokens", " \\\n    --prompt-tokens").replace(
            " --out results", " \\\n    --out results"
        )
    )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def _ms(row: Mapping[str, object]) -> float:
    return _number(row["tpot_p50_s"]) * 1e3


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return value


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value


def _rows(value: object) -> Rows:
    assert isinstance(value, list)
    return value


if __name__ == "__main__":
    main()
