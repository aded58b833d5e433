"""Choices of a large space: each once, only those that there are, and better ones than a blind draw finds."""

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path

import pytest

from simulator.plan.optimizer import Optimizer, Outcome, size
from simulator.sweep.axis import Axis, parse_axis
from simulator.sweep.draw import Labels

pytest.importorskip("optuna", reason="optuna is not installed: pip install 'moesim[search]'")

MACHINES = {"m0": (0.1, 4.0), "m1": (0.2, 3.5), "m2": (0.3, 2.0), "m3": (0.7, 1.0), "m4": (1.5, 0.9), "m5": (2.5, 0.5)}
LINKS = {"gen3": (0.0, 16.0), "gen4": (0.03, 32.0), "gen5": (0.1, 64.0)}
POLICIES = {"lru": 1.0, "lfu": 0.9, "fifo": 1.2, "random": 1.3, "best": 0.8}
AXES: Mapping[str, Sequence[object]] = {
    "machine": list(MACHINES),
    "link": list(LINKS),
    "policy": list(POLICIES),
    "frac": [round(0.05 * step, 2) for step in range(1, 20)],
    "batch": [1, 2, 4, 8, 16, 32],
}
LIMIT = 20.0


def _axes() -> list[Axis]:
    return [parse_axis(path, list(levels), is_sampled=False) for path, levels in AXES.items()]


def _figures(labels: Mapping[str, object]) -> tuple[float, float]:
    """Return what a choice costs and how slow it is, by a formula like that of a machine: fetches behind compute."""
    usd, compute = MACHINES[str(labels["machine"])]
    more, bandwidth = LINKS[str(labels["link"])]
    frac, batch = float(str(labels["frac"])), float(str(labels["batch"]))
    misses = POLICIES[str(labels["policy"])] * (1 - frac) * 8 * batch**0.6
    return (usd + more + 1.5 * frac) / batch, compute * batch**0.3 + 300 * misses / bandwidth / 4


def _outcome(labels: Mapping[str, object]) -> Outcome:
    usd, slow = _figures(labels)
    return Outcome(figures=(usd, slow), beyond={"slow": max(0.0, slow / LIMIT - 1)})


def _found(num_choices: int, seed: int, allows: Callable[[Labels], bool] = bool) -> list[Labels]:
    optimizer = Optimizer(_axes(), num_choices=num_choices, seed=seed, allows=allows)
    found: list[Labels] = []
    while len(found) < num_choices:
        asked = optimizer.ask(min(16, num_choices - len(found)))
        for place, labels in asked.items():
            optimizer.tell(place, _outcome(labels) if labels["policy"] != "random" else None)
        found += asked.values()
    return found


def _cheapest(choices: Sequence[Mapping[str, object]]) -> float:
    kept = [usd for usd, slow in map(_figures, choices) if slow <= LIMIT]
    return min(kept, default=float("inf"))


def test_it_finds_what_a_blind_draw_does_not() -> None:
    """Of 10,260 choices 150 are run: the best is nearer to the best of all than that of as many drawn blindly."""
    space = [dict(zip(AXES, levels, strict=True)) for levels in product(*AXES.values())]
    assert size(_axes()) == len(space) == 10_260
    best = _cheapest(space)
    seeds = range(5)
    proposed = [_cheapest(_found(150, seed)) / best for seed in seeds]
    blind = [_cheapest(random.Random(seed).sample(space, 150)) / best for seed in range(20)]
    assert min(proposed) >= 1
    assert statistics.median(proposed) < 1.1
    assert statistics.median(proposed) < statistics.median(blind)


def test_each_choice_once_and_only_those_that_there_are() -> None:
    """Whatever came of those before."""
    found = _found(100, 0, allows=lambda labels: labels["machine"] != "m5" and labels["batch"] != 1)
    assert len({repr(labels) for labels in found}) == 100
    assert not any(labels["machine"] == "m5" or labels["batch"] == 1 for labels in found)


def test_the_same_seed_proposes_the_same() -> None:
    """Another seed does not."""
    assert _found(60, 3) == _found(60, 3)
    assert _found(60, 3) != _found(60, 4)


def test_a_space_that_is_used_up_ends() -> None:
    """With all of its choices."""
    axes = [parse_axis("a", [1, 2], is_sampled=False), parse_axis("b", ["x", "y", "z"], is_sampled=False)]
    optimizer = Optimizer(axes, num_choices=40, seed=0, allows=lambda labels: labels != {"a": 1, "b": "x"})
    asked: list[Labels] = []
    for _ in range(4):
        new = optimizer.ask(3)
        asked += new.values()
        for place in new:
            optimizer.tell(place, Outcome(figures=(1.0, 1.0), beyond={"a": 0.0}))
    assert len(asked) == 5


def test_spans_are_searched_between_their_ends() -> None:
    """On a logarithmic scale too; whole numbers stay whole, each once."""
    axes = [
        parse_axis("rate", {"from": 1.0, "to": 100.0, "scale": "log"}, is_sampled=True),
        parse_axis("batch", {"from": 1, "to": 4}, is_sampled=True),
    ]
    assert size(axes) == float("inf")
    optimizer = Optimizer(axes, num_choices=48, seed=0, allows=bool)
    rates = []
    for _ in range(3):
        asked = optimizer.ask(16)
        for place, labels in asked.items():
            rate, batch = float(str(labels["rate"])), labels["batch"]
            assert 1 <= rate <= 100
            assert batch in (1, 2, 3, 4)
            optimizer.tell(place, Outcome(figures=(abs(rate - 10), 1.0), beyond={"a": 0.0}))
            rates.append(rate)
    assert len(rates) == 48
    assert min(abs(rate - 10) for rate in rates[16:]) < min(abs(rate - 10) for rate in rates[:16])


def test_without_optuna_it_says_what_to_install(tmp_path: Path) -> None:
    """Tried in a process that cannot import it, where nothing else needs it."""
    import subprocess
    import sys

    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "sys.modules['optuna'] = None\n"
        "from simulator.plan.optimizer import Optimizer\n"
        "Optimizer([], num_choices=1, seed=0, allows=bool)\n",
        encoding="utf-8",
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=60)
    assert "pip install 'moesim[search]'" in ended.stderr
