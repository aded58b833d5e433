"""Measure the presets and write `docs/measurements/synthesis.json` and the table of `docs/traces.md`.

Run as `python -m tests.traces.measure_synthesis`. With `MOESIM_DATA` set, it also measures on the recorded traces what
the order of touches within a set is worth (see `traces.statistics.miss_ratio`); else it keeps what was measured before.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from traces.format import Ids
from traces.statistics.miss_ratio import lru_hit_rates
from traces.synthesis.make import synthesise
from traces.synthesis.parameters import load_preset, preset_names

DOCS = Path(__file__).parents[2] / "docs"
MEASURED = DOCS / "measurements" / "synthesis.json"
PAGE = DOCS / "traces.md"
BEGIN, END = "<!-- distances: begin -->", "<!-- distances: end -->"
SEEDS = (101, 102, 103)
_RECORDED = {"gpt-oss-20b_decode": 32, "deepseek-v2-lite_prefill": 64}
_ORDER_TOKENS = 8_000
_ORDER_LAYERS = (0, 11, 22)


def measure(before: dict[str, Any]) -> dict[str, Any]:
    """Return what the page shows."""
    found: dict[str, Any] = {"seeds": list(SEEDS), "presets": {}}
    for name in preset_names():
        fitted = load_preset(name)
        runs = [synthesise(fitted, num_tokens=fitted.model.fitted_tokens, seed=seed) for seed in SEEDS]
        found["presets"][name] = {
            "tokens": fitted.model.fitted_tokens,
            "distances": [
                {key: None if value is None else round(value, 3) for key, value in run.distances.items()}
                for run in runs
            ],
            "missed_bars": [run.missed for run in runs],
        }
    folder = os.environ.get("MOESIM_DATA")
    found["touch_order"] = _touch_order(Path(folder) / "traces") if folder else before.get("touch_order")
    return found


def _touch_order(folder: Path) -> dict[str, Any]:
    worst: dict[str, float] = {}
    for name, num_experts in _RECORDED.items():
        with np.load(folder / f"{name}.npz") as arrays:
            ids = arrays["expert_ids"][:_ORDER_TOKENS, list(_ORDER_LAYERS)]
        rates = lru_hit_rates(ids, num_experts)
        worst[name] = max(
            abs(100 * (hits_first(ids[:, row], capacity) / ids[:, row].size - rates[row, capacity - 1]))
            for row in range(len(_ORDER_LAYERS))
            for capacity in (num_experts // 4, num_experts // 2, 3 * num_experts // 4)
        )
    return {
        "tokens": _ORDER_TOKENS,
        "layers": list(_ORDER_LAYERS),
        "capacities_frac": [0.25, 0.5, 0.75],
        "largest_difference_points": {name: round(points, 3) for name, points in worst.items()},
    }


def hits_first(events_NK: Ids, capacity: int) -> int:
    """Return the hits of an LRU cache that touches a set's hits first and inserts its misses afterwards."""
    cache: dict[int, None] = {}
    hits = 0
    for event in events_NK.tolist():
        resident = [expert for expert in event if expert in cache]
        absent = [expert for expert in event if expert not in cache]
        hits += len(resident)
        for expert in resident:
            del cache[expert]
            cache[expert] = None
        for expert in absent:
            cache[expert] = None
        while len(cache) > capacity:
            del cache[next(iter(cache))]
    return hits


def table(measured: dict[str, Any]) -> str:
    """Return the Markdown table: each distance as its range over the seeds."""
    presets = measured["presets"]
    rows = [
        f"| found - wanted, seeds {measured['seeds'][0]}-{measured['seeds'][-1]} | {' | '.join(presets)} |",
        "|---|" + "---:|" * len(presets),
        "| tokens | " + " | ".join(f"{preset['tokens']:,}" for preset in presets.values()) + " |",
    ]
    for key in next(iter(presets.values()))["distances"][0]:
        cells = []
        for preset in presets.values():
            values = [run[key] for run in preset["distances"]]
            if any(value is None for value in values):
                cells.append("-")
            elif key.endswith("experts"):
                cells.append(", ".join(str(value) for value in sorted(set(values))))
            else:
                cells.append(f"{min(values):+.2f} to {max(values):+.2f}")
        rows.append(f"| `{key}` | {' | '.join(cells)} |")
    missed = [str(sum(len(lines) for lines in preset["missed_bars"])) for preset in presets.values()]
    rows.append(f"| bars missed | {' | '.join(missed)} |")
    order = measured["touch_order"]["largest_difference_points"]
    return "\n".join(
        [
            *rows,
            "",
            f"Touching hits before misses instead of in the order of the set changes the LRU hit rate by at most "
            f"{max(order.values()):.2f} points (layers {', '.join(map(str, measured['touch_order']['layers']))} of "
            f"both recorded traces, first {measured['touch_order']['tokens']:,} tokens, a quarter, half and three "
            "quarters of the experts).",
        ]
    )


def main() -> None:
    before = json.loads(MEASURED.read_text(encoding="utf-8")) if MEASURED.exists() else {}
    measured = measure(before)
    MEASURED.parent.mkdir(parents=True, exist_ok=True)
    MEASURED.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    head, rest = page.split(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{table(measured)}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
