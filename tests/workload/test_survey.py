"""What a workload is like, against numpy over all of its requests."""

from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.workload.arrivals import Arrival
from simulator.workload.generated import Generated
from simulator.workload.generators.on_off import OnOff
from simulator.workload.generators.poisson import Poisson
from simulator.workload.lengths.apart import Apart
from simulator.workload.lengths.lognormal import LogNormal
from simulator.workload.page import length_shares
from simulator.workload.survey import Survey
from tests.workload.by_hand import at

LENGTHS = Apart(LogNormal(mean=500.0, cv=1.0), LogNormal(mean=100.0, cv=0.5))


def surveyed(requests: list[Arrival]) -> Survey:
    """Count requests."""
    survey = Survey()
    for request in requests:
        survey.add(request)
    return survey


def test_figures_are_numpys() -> None:
    """Of 3,000 requests in bursts."""
    process = OnOff(on_rate_per_s=10.0, off_rate_per_s=1.0, mean_on_s=5.0, mean_off_s=5.0)
    requests = list(islice(Generated(process, LENGTHS).arrivals(1), 3000))
    found = surveyed(requests).summary()
    times_s = np.array([request.arrival_ns for request in requests]) / 1e9
    gaps_s = np.diff(times_s)
    assert found["requests"] == 3000
    assert found["rate_requests_per_s"] == pytest.approx(1 / gaps_s.mean())
    assert found["gap_cv"] == pytest.approx(gaps_s.std() / gaps_s.mean())
    for name in ("prompt_tokens", "output_tokens"):
        lengths = np.array([getattr(request, name) for request in requests])
        described = found[name]
        assert isinstance(described, dict)
        assert described["mean"] == pytest.approx(lengths.mean())
        assert described["cv"] == pytest.approx(lengths.std() / lengths.mean())
        assert [described[key] for key in ("min", "p50", "p90", "p99", "max")] == pytest.approx(
            np.quantile(lengths, [0, 0.5, 0.9, 0.99, 1]).tolist()
        )
    prompts, outputs = zip(*((request.prompt_tokens, request.output_tokens) for request in requests), strict=True)
    assert found["length_correlation"] == pytest.approx(np.corrcoef(prompts, outputs)[0, 1])
    for seconds in (1, 10, 60):
        windows = int((times_s[-1] - times_s[0]) // seconds)
        counts = np.bincount(((times_s - times_s[0]) // seconds).astype(int))
        dispersion, peaks = found["dispersion"], found["peak_requests"]
        assert isinstance(dispersion, dict)
        assert isinstance(peaks, dict)
        whole = counts[:windows]
        assert dispersion[f"{seconds}_s"] == pytest.approx(whole.var(ddof=1) / whole.mean())
        assert peaks[f"{seconds}_s"] == counts.max()


def test_poisson_has_a_dispersion_of_1() -> None:
    """In windows of 1 s and of 10 s."""
    found = surveyed(list(islice(Generated(Poisson(rate_per_s=5.0), LENGTHS).arrivals(2), 30_000))).summary()
    dispersion = found["dispersion"]
    assert isinstance(dispersion, dict)
    assert dispersion["1_s"] == pytest.approx(1, abs=0.06)
    assert dispersion["10_s"] == pytest.approx(1, abs=0.2)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(times_ns=st.lists(st.integers(0, 10**13), min_size=1, max_size=60).map(sorted))
def test_the_course_loses_no_request(times_ns: list[int]) -> None:
    """However long the run: bounded bins, and each request in the bin of its time."""
    course = surveyed(at(*times_ns)).course
    assert len(course.requests) <= 360
    expected = np.bincount([(time_ns - times_ns[0]) // course.bin_ns for time_ns in times_ns]).tolist()
    assert course.requests == expected
    assert sum(course.prompt_tokens) == sum(range(len(times_ns) + 1))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(lengths=st.lists(st.integers(1, 1 << 30), min_size=1, max_size=40))
def test_every_length_is_in_one_bin(lengths: list[int]) -> None:
    """Shares add up to 1, and each bin has those between its edges."""
    requests = [Arrival(arrival_ns=0, prompt_tokens=length, output_tokens=1) for length in lengths]
    edges, shares = length_shares(surveyed(requests).prompt_tokens)
    assert shares == pytest.approx(
        [sum(low <= length < high for length in lengths) / len(lengths) for low, high in pairwise(edges)]
    )
    assert sum(shares) == pytest.approx(1)
    assert edges == sorted(set(edges))


def test_few_requests_have_few_figures() -> None:
    """One has no rate; two have no variation of gaps."""
    one = surveyed(at(5)).summary()
    assert (one["span_s"], one["rate_requests_per_s"], one["gap_cv"], one["length_correlation"]) == (
        0.0,
        None,
        None,
        None,
    )
    two = surveyed(at(5, 10**9 + 5)).summary()
    assert (two["rate_requests_per_s"], two["gap_cv"]) == (1.0, None)
    assert Survey().summary()["requests"] == 0


def test_disorder_is_refused() -> None:
    """A workload that runs backwards is at fault."""
    with pytest.raises(ValueError, match="arrives at 4 ns, after one at 5"):
        surveyed([*at(5), *at(4)])
