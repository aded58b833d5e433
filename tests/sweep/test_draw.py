"""Grids and samples: all of each with each, and what a sample promises."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.sweep.axis import Axis, parse_axis, parse_zip
from simulator.sweep.draw import SampleChoice, count, draw


def axes_of(*, is_sampled: bool) -> list[Axis]:
    """Return a list, a span (in a sample), and two paths together."""
    span: dict[str, object] = {"from": 0.0, "to": 1.0} if is_sampled else {"from": 0.0, "to": 1.0, "points": 3}
    return [
        parse_axis("system", ["a", "b", "c", "d"], is_sampled=is_sampled),
        parse_axis("cache.frac", span, is_sampled=is_sampled),
        parse_zip({"batch": [1, 2], "seed": [3, 4]}),
    ]


def test_a_grid_is_each_with_each() -> None:
    """The last axis is the fastest; what is zipped goes together."""
    axes = axes_of(is_sampled=False)
    drawn = list(draw(axes, None))
    assert len(drawn) == count(axes, None) == 24
    assert drawn[:3] == [
        {"system": "a", "cache.frac": 0.0, "batch": 1, "seed": 3},
        {"system": "a", "cache.frac": 0.0, "batch": 2, "seed": 4},
        {"system": "a", "cache.frac": 0.5, "batch": 1, "seed": 3},
    ]
    assert len({tuple(labels.items()) for labels in drawn}) == 24


@given(points=st.integers(1, 40), seed=st.integers(0, 99))
@settings(derandomize=True, max_examples=40, deadline=None)
def test_a_latin_hypercube_has_each_part_once(points: int, seed: int) -> None:
    """Each axis, divided into as many parts as there are points, has one in each; a list has its values evenly."""
    drawn = list(draw(axes_of(is_sampled=True), SampleChoice(points=points, method="latin_hypercube", seed=seed)))
    shares = [float(str(labels["cache.frac"])) for labels in drawn]
    assert sorted(int(share * points * (1 + 1e-5)) for share in shares) == pytest.approx(list(range(points)), abs=1)
    assert all(
        low <= share * points + 1e-3 and share * points <= low + 1 + 1e-3 for low, share in enumerate(sorted(shares))
    )
    counts = Counter(labels["system"] for labels in drawn)
    assert max(counts.values()) - min(counts.get(name, 0) for name in "abcd") <= 1 + (points % 4 != 0)


def test_samples_depend_on_the_seed_alone() -> None:
    """Same seed, same points; an axis more changes nothing of the others; another seed is another sample."""
    for method in ("random", "latin_hypercube"):
        axes = axes_of(is_sampled=True)
        first = list(draw(axes, SampleChoice(points=20, method=method, seed=1)))
        fewer = list(draw(axes[:2], SampleChoice(points=20, method=method, seed=1)))
        other = list(draw(axes, SampleChoice(points=20, method=method, seed=2)))
        assert [(labels["system"], labels["cache.frac"]) for labels in first] == [
            tuple(labels.values()) for labels in fewer
        ]
        assert first != other


def test_a_random_sample_is_even() -> None:
    """Of 4000 draws each of four values has a quarter, within four standard deviations."""
    drawn = draw(axes_of(is_sampled=True), SampleChoice(points=4000))
    counts = Counter(labels["system"] for labels in drawn)
    assert all(abs(counts[name] - 1000) < 4 * (4000 * 0.25 * 0.75) ** 0.5 for name in "abcd")
