"""The published request traces, where `MOESIM_DATA` has them."""

from pathlib import Path

import pytest

from simulator.workload.arrivals import Arrival
from simulator.workload.recorded import RecordedRequests
from simulator.workload.survey import Survey

TRACES = [
    ("AzureLLMInferenceTrace_conv.csv", "azure", 19_366, 3501.721937, (374, 44), (197, 183)),
    ("AzureLLMInferenceTrace_code.csv", "azure", 8_819, 3435.948056, (4808, 10), (549, 173)),
    ("mooncake_conversation_2000.jsonl", "mooncake", 2_000, 669.0, (6758, 500), (1504, 462)),
]


def lengths(arrival: Arrival) -> tuple[int, int]:
    """Return (prompt tokens, output tokens)."""
    return arrival.prompt_tokens, arrival.output_tokens


@pytest.mark.parametrize(("name", "format_name", "count", "span_s", "first", "last"), TRACES)
def test_a_published_trace(
    shared_data: Path,
    name: str,
    format_name: str,
    count: int,
    span_s: float,
    first: tuple[int, int],
    last: tuple[int, int],
) -> None:
    """All requests are there, none without tokens, in order, from 0 to the end of the trace."""
    requests = RecordedRequests(shared_data / "workloads" / name)
    found = list(requests.arrivals(0))
    assert requests.format_name == format_name
    assert (len(found), lengths(found[0]), lengths(found[-1])) == (count, first, last)
    assert (found[0].arrival_ns, found[-1].arrival_ns) == (0, round(span_s * 10**9))
    assert [one.arrival_ns for one in found] == sorted(one.arrival_ns for one in found)
    assert min(min(lengths(one)) for one in found) >= 1
    assert not any("left out" in note for note in requests.notes())


def test_the_conversations_of_azure_are_burstier_than_poisson(shared_data: Path) -> None:
    """About 5.5 requests/s, and an index of dispersion of one minute far above 1."""
    survey = Survey()
    for arrival in RecordedRequests(shared_data / "workloads" / TRACES[0][0]).arrivals(0):
        survey.add(arrival)
    summary = survey.summary()
    assert summary["rate_requests_per_s"] == pytest.approx(5.53, abs=0.01)
    dispersion = summary["dispersion"]
    assert isinstance(dispersion, dict)
    assert dispersion["60_s"] > 10
