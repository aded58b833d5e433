"""Lengths of requests."""

from random import Random
from statistics import fmean, pstdev

import pytest

from simulator.workload.lengths.apart import Apart
from simulator.workload.lengths.empirical import Empirical
from simulator.workload.lengths.fixed import Fixed
from simulator.workload.lengths.lognormal import LogNormal


def test_lognormal_lengths_have_the_mean_and_variation_that_was_asked_for() -> None:
    """Of 40,000 lengths, within 2 and 5 %."""
    lengths = LogNormal(mean=600.0, cv=1.2)
    random = Random(5)
    drawn = [lengths.draw(random) for _ in range(40_000)]
    assert fmean(drawn) == pytest.approx(600, rel=0.02)
    assert pstdev(drawn) / fmean(drawn) == pytest.approx(1.2, rel=0.05)


def test_lognormal_lengths_stay_within_their_bounds() -> None:
    """Those outside are moved to the nearer bound, and both bounds are reached."""
    lengths = LogNormal(mean=100.0, cv=2.0, least=20, most=300)
    random = Random(5)
    drawn = {lengths.draw(random) for _ in range(2000)}
    assert (min(drawn), max(drawn)) == (20, 300)


def test_prompt_and_output_apart_are_drawn_in_this_order() -> None:
    """Each from its own distribution and the one stream."""
    wide = LogNormal(mean=100.0, cv=1.0)
    random, again = Random(1), Random(1)
    assert Apart(wide, Fixed(tokens=7)).draw(random) == (wide.draw(again), 7)
    assert Apart(wide, wide).draw(random) == (wide.draw(again), wide.draw(again))


def test_empirical_lengths_are_pairs_that_were_given_as_often_as_given() -> None:
    """(1, 10) twice as often as (2, 20), and nothing else."""
    lengths = Empirical([(1, 10), (2, 20), (1, 10)])
    random = Random(2)
    drawn = [lengths.draw(random) for _ in range(6000)]
    assert set(drawn) == {(1, 10), (2, 20)}
    assert drawn.count((1, 10)) / len(drawn) == pytest.approx(2 / 3, abs=0.02)


def test_empirical_lengths_beyond_the_bound_are_a_sample_of_all() -> None:
    """Of 10,000 pairs 500 are kept, from the beginning as from the end, and each is one that was given."""
    lengths = Empirical(((index, 2 * index) for index in range(1, 10_001)), max_pairs=500)
    random = Random(2)
    drawn = [lengths.draw(random) for _ in range(5000)]
    assert all(output == 2 * prompt for prompt, output in drawn)
    assert len(set(drawn)) <= 500
    assert fmean(prompt for prompt, _ in drawn) == pytest.approx(5000, rel=0.1)


@pytest.mark.parametrize(
    ("says", "call"),
    [
        ("tokens is 0", lambda: Fixed(tokens=0)),
        ("mean is 0", lambda: LogNormal(mean=0.0, cv=1.0)),
        ("cv is -0.1", lambda: LogNormal(mean=1.0, cv=-0.1)),
        ("least is 5 and most 4", lambda: LogNormal(mean=1.0, cv=1.0, least=5, most=4)),
        ("no pairs", lambda: Empirical([])),
        ("pair 1 is 0 and 3", lambda: Empirical([(1, 1), (0, 3)])),
    ],
)
def test_what_is_no_length_is_refused(says: str, call: object) -> None:
    """With the parameter and its value."""
    assert callable(call)
    with pytest.raises(ValueError, match=says):
        call()
