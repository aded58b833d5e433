"""Workloads written out by hand, and random ones."""

from collections.abc import Iterator, Sequence

from hypothesis import strategies as st

from simulator.workload.arrivals import Arrival


class Written:
    """An open workload of these requests; counts how many were asked for."""

    def __init__(self, requests: Sequence[Arrival]) -> None:
        self.requests = requests
        self.num_asked = 0

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        """Yield them, whatever the seed."""
        del seed
        for request in self.requests:
            self.num_asked += 1
            yield request


def at(*times_ns: int, session: int | None = None) -> list[Arrival]:
    """Return requests at these times, told apart by their prompts, which are their numbers from 1."""
    return [
        Arrival(arrival_ns=time_ns, prompt_tokens=index + 1, output_tokens=1, session=session)
        for index, time_ns in enumerate(times_ns)
    ]


def random_requests(max_size: int = 30) -> st.SearchStrategy[list[Arrival]]:
    """Return a strategy for requests in order of time, some at the same."""
    times = st.lists(st.integers(0, 10**12), max_size=max_size).map(sorted)
    return times.map(lambda ordered: at(*ordered))
