"""Workloads scaled, thinned, cut and merged: what comes out are the requests that went in, in order."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.workload.arrivals import Arrival
from simulator.workload.generated import Generated
from simulator.workload.generators.poisson import Poisson
from simulator.workload.labels import Labelled, Labels
from simulator.workload.lengths.apart import Apart
from simulator.workload.lengths.fixed import Fixed
from simulator.workload.lengths.lognormal import LogNormal
from simulator.workload.merging import Merged
from simulator.workload.scaling import Scaled, Thinned
from simulator.workload.slicing import Sliced
from tests.workload.by_hand import Written, at, random_requests

LENGTHS = Apart(LogNormal(mean=100.0, cv=1.0), Fixed(tokens=9))
profile = settings(derandomize=True, deadline=None, max_examples=80)


def times(requests: list[Arrival]) -> list[int]:
    """Return when they arrive."""
    return [request.arrival_ns for request in requests]


def test_lengths_do_not_depend_on_the_rate() -> None:
    """Two rates, one seed: the same requests at other times."""
    slow, fast = (list(islice(Generated(Poisson(rate_per_s=rate), LENGTHS).arrivals(4), 50)) for rate in (1.0, 3.0))
    assert [request.prompt_tokens for request in slow] == [request.prompt_tokens for request in fast]
    assert times(slow) != times(fast)
    assert len({request.prompt_tokens for request in slow}) > 20


@profile
@given(requests=random_requests(), factor=st.fractions(Fraction(1, 1000), 1000, max_denominator=10**6))
def test_scaling_keeps_count_order_and_requests(requests: list[Arrival], factor: Fraction) -> None:
    """Each time is divided by the factor, exactly, and rounded down."""
    scaled = list(Scaled(Written(requests), factor).arrivals(0))
    assert times(scaled) == [int(Fraction(request.arrival_ns) / factor) for request in requests]
    assert times(scaled) == sorted(times(scaled))
    assert [replace(request, arrival_ns=0) for request in scaled] == [
        replace(request, arrival_ns=0) for request in requests
    ]


@profile
@given(requests=random_requests(), seed=st.integers(0, 99), shares=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)))
def test_what_a_smaller_share_keeps_a_larger_one_keeps_too(
    requests: list[Arrival], seed: int, shares: tuple[float, float]
) -> None:
    """In order, unchanged; a share of 1 keeps all."""
    small, large, whole = (list(Thinned(Written(requests), share).arrivals(seed)) for share in (*sorted(shares), 1.0))
    rest = iter(large)
    assert all(request in rest for request in small), "a subsequence"
    rest = iter(requests)
    assert all(request in rest for request in large), "a subsequence"
    assert whole == requests


def test_thinning_keeps_its_share() -> None:
    """A quarter of 20,000 within three standard deviations (184)."""
    kept = list(Thinned(Written(at(*range(20_000))), 0.25).arrivals(3))
    assert abs(len(kept) - 5000) < 184


@profile
@given(
    requests=random_requests(),
    start_ns=st.integers(0, 10**12),
    length_ns=st.integers(1, 10**12),
    limit=st.one_of(st.none(), st.integers(1, 10)),
)
def test_a_slice_is_what_lies_within(requests: list[Arrival], start_ns: int, length_ns: int, limit: int | None) -> None:
    """The start is in it and becomes 0, the stop is not."""
    stop_ns = start_ns + length_ns
    found = list(Sliced(Written(requests), start_ns=start_ns, stop_ns=stop_ns, max_requests=limit).arrivals(0))
    within = [request for request in requests if start_ns <= request.arrival_ns < stop_ns][:limit]
    assert found == [replace(request, arrival_ns=request.arrival_ns - start_ns) for request in within]


def test_a_slice_looks_no_further_than_its_end() -> None:
    """The one that is past the stop is asked for, no more; with a limit, not even that."""
    written = Written(at(*range(100)))
    assert len(list(Sliced(written, stop_ns=10).arrivals(0))) == 10
    assert written.num_asked == 11
    written = Written(at(*range(100)))
    assert len(list(Sliced(written, max_requests=10).arrivals(0))) == 10
    assert written.num_asked == 10


@profile
@given(parts=st.lists(random_requests(12), min_size=1, max_size=4))
def test_merging_loses_none_and_keeps_order(parts: list[list[Arrival]]) -> None:
    """All requests, by time; of equal times those of the earlier part first, in its order."""
    named = [[replace(request, class_name=str(index)) for request in part] for index, part in enumerate(parts)]
    merged = list(Merged([Written(part) for part in named]).arrivals(0))
    assert merged == sorted((request for part in named for request in part), key=lambda request: request.arrival_ns)


def test_merged_parts_have_seeds_and_sessions_of_their_own() -> None:
    """Two alike are not the same; session 3 of the second of two parts is 7."""
    alike = Generated(Poisson(rate_per_s=1.0), LENGTHS)
    merged = list(islice(Merged([alike, alike]).arrivals(1), 100))
    assert len(set(times(merged))) == 100
    parts = [Written(at(1, session=3)), Written(at(2, session=3)), Written(at(3))]
    assert [request.session for request in Merged(parts[:2]).arrivals(0)] == [6, 7]
    assert [request.session for request in Merged(parts).arrivals(0)] == [9, 10, None]


def test_merging_is_lazy() -> None:
    """Endless parts are asked for one request each beyond what was taken."""
    written = Written(at(*range(1000)))
    assert len(list(islice(Merged([written, Written(at(500))]).arrivals(0), 10))) == 10
    assert written.num_asked <= 11


def test_labels_are_drawn_by_weight() -> None:
    """Weights 3 and 1, of classes and of categories apart; 0 is never drawn."""
    labels = Labels(classes={"chat": 3, "batch": 1, "none": 0}, categories={"code": 1, "law": 3})
    labelled = list(Labelled(Written(at(*range(8000))), labels).arrivals(2))
    pairs = Counter((request.class_name, request.category) for request in labelled)
    assert set(pairs) == {("chat", "code"), ("chat", "law"), ("batch", "code"), ("batch", "law")}
    for (class_name, category), weight in {("chat", "law"): 9, ("chat", "code"): 3, ("batch", "code"): 1}.items():
        assert pairs[class_name, category] / 8000 == pytest.approx(weight / 16, abs=0.02)


def test_labels_leave_what_they_have_no_word_for() -> None:
    """Classes alone keep categories, and the other way round."""
    request = replace(at(5)[0], class_name="mine", category="law")
    assert next(Labelled(Written([request]), Labels(classes={"chat": 1})).arrivals(0)).category == "law"
    assert next(Labelled(Written([request]), Labels(categories={"code": 1})).arrivals(0)).class_name == "mine"


@pytest.mark.parametrize(
    ("says", "call"),
    [
        ("factor of the rate is 0", lambda: Scaled(Written([]), Fraction(0))),
        ("keep_frac is 0", lambda: Thinned(Written([]), 0.0)),
        ("keep_frac is nan", lambda: Thinned(Written([]), float("nan"))),
        ("start is 5 ns and stop 5", lambda: Sliced(Written([]), start_ns=5, stop_ns=5)),
        ("max_requests is 0", lambda: Sliced(Written([]), max_requests=0)),
        ("nothing to merge", lambda: Merged([])),
        ("weight of a is -1", lambda: Labels(classes={"a": -1})),
        ("all weights are 0", lambda: Labels(categories={"a": 0})),
    ],
)
def test_what_makes_no_sense_is_refused(says: str, call: object) -> None:
    """With the parameter and its value."""
    assert callable(call)
    with pytest.raises(ValueError, match=says):
        call()
