"""Write docs/validation.md, and the table in the README, from validation/results: python docs/make_validation.py"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from validation.compare.report import summarise_errors
from validation.compare.tables import SUMMARY_HEADINGS, milliseconds, percent, range_text, replayed_text, summary_rows

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "validation" / "results"
PAGE = ROOT / "docs" / "validation.md"
README = ROOT / "README.md"
_BEGIN, _END = "<!-- validation: written by docs/make_validation.py -->\n", "<!-- end of validation -->"

_METHOD = """\
# How far the simulator is from a real run

<!-- written by docs/make_validation.py from validation/results/*.json -->

`moesim validate` runs the configurations of a suite (`validation/suites`) both ways. The
torch runtime of `validation` carries out the decisions of the same policy objects on real hardware, with real copies and
real kernels; the simulator does so in virtual time, with a profile that `moesim calibrate` has measured on that machine.
Nothing of a configuration is fitted: the profile is measured from kernels and copies by themselves, before any of the
configurations is run, and a throttled link has the bandwidth and latency that it is throttled to.

A machine that others use as well has more than one speed: for seconds or minutes a core may be twice as slow. A fixed piece
of work, timed in the pauses between two steps, tells such times apart. Or other processes have the cores: the kernel counts
for how long the replay's threads waited for one. There are therefore two errors, and two comparisons of counts, and both
are always given:

- **Error of steps at the calibrated speed**: of the time per output token over those steps during which the machine was as
  fast as when its profile was measured, and at most 2 % of their time was lost to waiting for a core; the same steps are
  added up on both sides. It says how well the simulator knows the
  machine that was calibrated, and is the figure to judge the simulator by. **Their share** says how many of the steps these
  were. Where CPU workers compute experts, which is on another core, that core has to be as fast as well. Where a run has
  more busy threads than the machine has cores (computing, copying, and experts on the CPU, on two cores), they wait for
  one another, and only the speed decides. A configuration with fewer than 24 such steps is replayed again, up to twice as
  often as the others. With `--patience`, replays also wait, for so long in all, until the machine is as fast as when it was
  calibrated.
- **Error of all steps**: of TPOT, the mean time between two tokens of a request, with whatever the machine did meanwhile.
- An error is (simulated - measured) / measured; measured is the median over the repeats. Where no repeat has eight steps at
  the calibrated speed, those of all repeats are taken together; where there are none at all, there is a dash.
- Where a profile does not tell its speed, and on CUDA, where none is probed, every step counts as at the calibrated speed.
- **Spread** is the range of the repeats around their median. The repeats go round by round over all configurations of a
  model, each round in a random order, so that a drift of the machine reaches all of them. An error **in the spread** is one
  where the simulation lies between the least and the largest measurement.
- **Counts equal** says that hits, late hits and misses of every repeat are exactly those simulated. Without a prefetcher
  they depend on the routing alone; with one, on what has arrived by when, so that they may differ by a few.
- **Off by** is the largest difference of the three, as a share of the accesses, over the steps at the calibrated speed, as
  the error is: a machine that is slow for a while gives prefetches more time, and has more hits in the place of late hits.
  Of each repeat the same steps are added up on both sides, and the median over the repeats is taken of each of the three.
  Beside it stands what all steps give. **Within 1 point** says that this is at most 1 %.
- What copies take from the speed of the kernels beside them is the runtime's overhead where it is simulated, and is in the
  kernels' own time where it is measured: a simulation's attribution has that much more overhead.
- **Profile of the other model**: the same replays, predicted with a profile that was measured on a model of other widths and
  of another architecture; the model at hand was never measured for it. The steps that count are those at the speed of that
  profile.
- Each result says when its replays were made, and of which commit, and how fast the machine was when it was calibrated: the
  smaller the time of the probe, the faster. Where less than half of the samples were taken at that speed, `moesim calibrate`
  warns and advises to measure anew.
"""
_REPEAT = """\
## To repeat it

```sh
make validate
```

calibrates each of the laboratory models on this machine and, right after it, replays what `validation/suites/cpu-quick.yaml`
has of it, and writes a page with all plots to `results/validation/cpu-quick/report.html`. What stands above is made by

```sh
make results
```

which calibrates anew and replays both suites, waiting for the machine where it is slow (`PATIENCE="15 min"`): an hour or
two. It writes `validation/results/*.json` and this page. For one model, another suite, or profiles at hand:

```sh
moesim validate validation/suites/cpu.yaml --profile lab-wide=a.yaml --profile lab-narrow=b.yaml
```

A call that was interrupted goes on where it stopped. The timeline of both runs, one above the other, of the configuration of
each model with the largest error is in `timelines/`; https://ui.perfetto.dev opens it.

## Limits

- The weights of the laboratory models are random: their times are those of real kernels, their texts mean nothing. Forced
  routing is that of a recorded trace; a model's own routing is nearly uniform where its weights are random.
- On the CPU backend both sides of the link are the machine's memory. Copies and kernels share its bandwidth and its cores;
  the link is throttled, so that copies are spread over their stated time.
- A profile holds for the machine, the versions and the threads that it was measured with. `moesim validate` refuses one of
  another device.
- The probe is one core's speed at one moment, between steps: what slows memory alone, or comes and goes within a step, is
  not seen, and a step may be taken for slow because copies ran during the probe.
- Spreads are those of a handful of repeats within one call; they say nothing of other days or other machines.
- Prompts are short: the suites measure decoding. Arrivals, queues and mixed steps are not part of them.
"""


def validation_page(reports: Sequence[Mapping[str, object]]) -> str:
    """Return the page's text."""
    parts = [_METHOD]
    if not reports:
        parts.append(
            "## Results\n\nNone have been committed yet: nothing is claimed. `moesim validate ... --results "
            "validation/results/NAME.json` writes them.\n"
        )
    parts += [_section(report) for report in reports]
    return "\n".join([*parts, _REPEAT])


def readme(text: str, reports: Sequence[Mapping[str, object]]) -> str:
    """Return the README's text with its table of the reports: each suite's errors, on demand, with prefetching, of systems.

    A last row of each is of all configurations, predicted with the profile of the other model.
    """
    before, rest = text.split(_BEGIN)
    _, after = rest.split(_END)
    rows = [
        "| suite, on | what | configurations | error of TPOT: median, p90 | over all steps: median, p90 "
        "| counts equal | within 1 point | over all steps: within 1 point |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for report in reports:
        groups: dict[str, object] = {}
        for kind in ("demand only", "prefetching", "systems"):
            of_kind = [row for row in _rows(report["configurations"]) if _kind(row) == kind]
            if of_kind:
                groups[kind] = _mapping(summarise_errors(of_kind)["all"])
        if report["cross"] is not None:
            groups["all, with the other model's profile"] = _mapping(_mapping(report["cross"])["summary"])["all"]
        for name, entry in groups.items():
            one = _mapping(entry)
            steady, whole = (
                f"{percent(one[f'{key}_median_frac'])}, {percent(one[f'{key}_p90_frac'])}"
                for key in ("tpot_error", "tpot_error_all")
            )
            cells = [_name(report), name, str(one["configurations"]), steady, whole]
            counts = [str(one[key]) for key in ("counts_equal", "counts_within_1_point", "all_counts_within_1_point")]
            rows.append(f"| {' | '.join([*cells, *counts])} |")
    return before + _BEGIN + "\n".join(rows) + "\n" + _END + after


def _name(report: Mapping[str, object]) -> str:
    """Return what tells a report from the others: the same suite may have been run more than once."""
    return f"`{report['suite']}`, {report['device_name']}, {str(report['date'])[:16].replace('T', ' ')}"


def _kind(row: Mapping[str, object]) -> str:
    """Return what a configuration is there for: a whole system, or a policy with or without prefetching."""
    settings = _mapping(_mapping(row["configuration"]).get("settings") or {})
    if settings.get("system") is not None:
        return "systems"
    return "demand only" if row["prefetch"] == "none" else "prefetching"


def read_results(folder: Path = RESULTS) -> list[dict[str, object]]:
    """Return the committed reports of suites, the earliest first."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    return sorted((one for one in found if "suite" in one), key=lambda one: str(one["date"]))


def _speeds(report: Mapping[str, object]) -> list[str]:
    """Say how fast the machine was when it was calibrated, and how much of that counted."""
    told = []
    for entry in _rows(report["profiles"]):
        probe = _mapping(_mapping(entry["profile"])["cpu"]).get("speed_probe")
        if isinstance(probe, Mapping):
            counted = re.search(r"([0-9]+%) of all samples", str(probe["source"]))
            told.append(f"{entry['name']}, {probe['value']}" + (f" and {counted[1]} of the samples" if counted else ""))
    if not told:
        return []
    return [f"Calibrated at (time of the probe, and samples taken at that speed): {'; '.join(told)}.", ""]


def _section(report: Mapping[str, object]) -> str:
    machine, versions, commit = (_mapping(report[key]) for key in ("machine", "versions", "commit"))
    gpus = "".join(f", {_mapping(gpu)['name']}" for gpu in _rows(machine["gpus"]))
    memory = machine["memory_bytes"]
    gibibytes = f", {memory / 2**30:.0f} GiB" if isinstance(memory, int) else ""
    lines = [
        f"## {_name(report)}",
        "",
        str(report["description"]).strip(),
        "",
        f"{machine['processor']}, {machine['cores']} cores{gibibytes}{gpus}; "
        + ", ".join(f"{name} {version}" for name, version in versions.items() if version is not None)
        + f"; commit {str(commit['id'])[:12]}{' with changes' if commit['is_dirty'] else ''}; {report['date']}; "
        f"{report['repeats']} repeats or more: {replayed_text(report)}.",
        "",
        *_speeds(report),
        *_summary(_mapping(report["summary"])),
        "",
        "| configuration | TPOT measured | TPOT simulated | error, steps at the calibrated speed | their spread "
        "| their share | error, all steps | spread, all steps | hits, late hits, misses | counts equal | off by "
        "| off by, all steps |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
        *[_row(row) for row in _rows(report["configurations"])],
        "",
    ]
    if report["cross"] is not None:
        lines += [
            "### With a profile of the other model",
            "",
            *_summary(_mapping(_mapping(report["cross"])["summary"])),
            "",
            "| configuration | profile of | error, steps at the calibrated speed | their share | error, all steps |",
            "|---|---|---|---|---|",
            *[_crossed_row(row) for row in _rows(_mapping(report["cross"])["configurations"])],
            "",
        ]
    return "\n".join(lines)


def _summary(summary: Mapping[str, object]) -> list[str]:
    return [
        "Errors of the steps at the calibrated speed, and then of all steps:",
        "",
        f"| group | {' | '.join(SUMMARY_HEADINGS)} |",
        "|---" * (1 + len(SUMMARY_HEADINGS)) + "|",
        *[f"| {' | '.join(row)} |" for row in summary_rows(summary)],
    ]


def _row(row: Mapping[str, object]) -> str:
    measured, simulated, spread = (_mapping(row[key]) for key in ("measured", "simulated", "spread"))
    counts = ", ".join(str(measured[key]) for key in ("hits", "late_hits", "misses"))
    cells = [
        f"`{row['id']}`",
        milliseconds(measured["tpot_s"]),
        milliseconds(simulated["tpot_s"]),
        percent(row["tpot_error_frac"], signed=True),
        range_text(_mapping(row["steady"])),
        percent(row["steady_frac"]),
        percent(row["tpot_error_all_frac"], signed=True),
        range_text(spread),
        counts,
        "yes" if row["counts_equal"] else "no",
        percent(row["counts_off_frac"]),
        percent(row["counts_off_all_frac"]),
    ]
    return f"| {' | '.join(cells)} |"


def _crossed_row(row: Mapping[str, object]) -> str:
    cells = [
        f"`{row['id']}`",
        str(row["profile_of"]),
        percent(row["tpot_error_frac"], signed=True),
        percent(row["steady_frac"]),
        percent(row["tpot_error_all_frac"], signed=True),
    ]
    return f"| {' | '.join(cells)} |"


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value


def _rows(value: object) -> Sequence[Mapping[str, object]]:
    assert isinstance(value, Sequence)
    return value


if __name__ == "__main__":
    PAGE.write_text(validation_page(read_results()), encoding="utf-8")
    README.write_text(readme(README.read_text(encoding="utf-8"), read_results()), encoding="utf-8")
