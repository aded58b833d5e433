"""An open workload made of an arrival process and lengths."""

from collections.abc import Iterator

from simulator.workload.arrivals import Arrival
from simulator.workload.generators.protocol import ArrivalTimes
from simulator.workload.labels import Labels
from simulator.workload.lengths.protocol import Lengths
from simulator.workload.randomness import stream

_NO_LABELS = Labels()


class Generated:
    """Requests without end. Times, lengths and labels have streams of their own: another rate changes no length."""

    def __init__(self, times: ArrivalTimes, lengths: Lengths, labels: Labels = _NO_LABELS) -> None:
        self._times, self._lengths, self._labels = times, lengths, labels

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        """Yield the requests in order of time."""
        of_lengths, of_labels = stream(seed, "lengths"), stream(seed, "labels")
        for arrival_ns in self._times.times(stream(seed, "times")):
            prompt_tokens, output_tokens = self._lengths.draw(of_lengths)
            class_name, category = self._labels.draw(of_labels)
            yield Arrival(
                arrival_ns=arrival_ns,
                prompt_tokens=prompt_tokens,
                output_tokens=output_tokens,
                class_name=class_name or "default",
                category=category,
            )
