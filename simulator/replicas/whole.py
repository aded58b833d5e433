"""Several replicas' service taken together, for the same summary as one machine's."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from simulator.metrics.counters import Counters
from simulator.metrics.distribution import Distribution
from simulator.metrics.goodput import Slo
from simulator.serving.memory import KvMemory
from simulator.serving.record import OfClass, Record
from simulator.serving.served import Served
from simulator.serving.service import Service
from simulator.serving.stop import Stop
from simulator.serving.time_series import TimeSeries


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """What became of all requests. `requests` are in the order of arrival.

    `memory` is that of the replica that has used most: each machine has its own.
    """

    num_replicas: int
    slos: Mapping[str, Slo]
    warmup: str
    record: Record
    memory: KvMemory
    stop: Stop
    ttft: Distribution
    itl: Distribution
    tpot: Distribution
    e2e: Distribution
    queueing: Distribution
    num_in_system: int
    said: Sequence[str]

    @classmethod
    def of(cls, services: Sequence[Service], *, notes: Sequence[str]) -> "Whole":
        """Take services of one workload together."""

        def merged(name: str) -> Distribution:
            return Distribution.merged([getattr(service, name) for service in services])

        return cls(
            num_replicas=len(services),
            slos=services[0].slos,
            warmup=services[0].warmup,
            record=merged_record([service.record for service in services]),
            memory=max((service.memory for service in services), key=lambda memory: memory.peak_bytes),
            stop=services[0].stop,
            ttft=merged("ttft"),
            itl=merged("itl"),
            tpot=merged("tpot"),
            e2e=merged("e2e"),
            queueing=merged("queueing"),
            num_in_system=sum(service.in_system() for service in services),
            said=notes,
        )

    @property
    def requests(self) -> Sequence[Served]:
        """All that replicas have taken, in the order of arrival."""
        return self.record.requests

    def in_system(self) -> int:
        """Count the requests that are neither answered nor refused."""
        return self.num_in_system

    def notes(self) -> Sequence[str]:
        """Say what router, workload and drawing know, have assumed or left out."""
        return self.said


def merged_record(records: Sequence[Record]) -> Record:
    """Return the record of what several have noted."""
    whole = Record(slos={})
    for name in sorted({name for record in records for name in record.classes}):
        whole.classes[name] = _merged_class([record.classes[name] for record in records if name in record.classes])
    whole.requests = sorted((one for record in records for one in record.requests), key=lambda one: one.index)
    whole.series = TimeSeries.merged([record.series for record in records])
    whole.num_finished = sum(record.num_finished for record in records)
    whole.num_tokens = sum(record.num_tokens for record in records)
    whole.waiting_ns = sum(record.waiting_ns for record in records)
    whole.running_ns = sum(record.running_ns for record in records)
    return whole


def merged_counters(counters: Sequence[Counters]) -> Counters:
    """Return what several machines have counted together in the same time: `now_ns` is that of one of them."""
    whole = Counters(num_layers=counters[0].num_layers)
    for one in counters:
        whole = whole.plus(one)
    whole.now_ns = max(one.now_ns for one in counters)
    return whole


def _merged_class(parts: Sequence[OfClass]) -> OfClass:
    whole = OfClass()
    for item in fields(OfClass):
        values = [getattr(part, item.name) for part in parts]
        first = values[0]
        merged: object
        if isinstance(first, Distribution):
            merged = Distribution.merged(values)
        elif isinstance(first, Counter):
            merged = sum(values, Counter())
        elif isinstance(first, list):
            merged = [sum(column) for column in zip(*values, strict=True)]
        else:
            assert isinstance(first, int), f"nobody knows how to add up {item.name}"
            merged = sum(values)
        setattr(whole, item.name, merged)
    return whole
