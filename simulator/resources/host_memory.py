"""The bandwidth of host memory, shared by copies and the CPU's experts: max-min fair, by progressive filling.

A flow is work that would take a known time by itself and would then draw a known rate of bytes: its demand. As long as
the demands together fit the bandwidth, each flow has what it demands and takes its own time, to the nanosecond. Where they
do not, the bandwidth is shared max-min fairly:

    left = bandwidth
    for each flow, by rising demand:
        rate = min(demand, left / flows that have no rate yet)
        left -= rate

so whoever demands less than an equal share is not slowed down, and the others have the same rate. Rates change only when a
flow starts, ends, or is told to go to another end.

Time is whole nanoseconds, and a flow ends at the first that is not before its work is done. Within, arithmetic is exact:
work is counted in whole parts of a byte, of which a nanosecond at a rate of 1 byte/s makes `_scale`. Flows that end at
one instant do so in order of their ranks.

Source: max-min fairness and progressive filling, Bertsekas & Gallager, Data Networks, 2nd ed., 6.5.2. That the traffic of
DMA and of CPU kernels meets in the memory's bandwidth, and that its sum bounds both: any roofline of the host.

Limits: fair sharing is our assumption; memory controllers favour one or the other in ways that nobody publishes. One
pool of bandwidth, without NUMA nodes or caches; reads and writes cost the same; work draws its bytes evenly (a copy's
latency included), and its time at less than its demand grows in proportion, also that of its arithmetic. The bandwidth of
the rest of a flow's last nanosecond is not given to others.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from math import gcd

import simpy
from simpy.events import URGENT

from simulator.resources.clock import Clock

NS_PER_S = 10**9
_NEVER = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficFactors:
    """Bytes of memory traffic per byte of an expert's weights.

    `copy` is what DMA reads from host memory, or writes to it, once; `cpu_expert` what a CPU kernel reads. `staging` is
    added for copies from or to pageable memory, which pass a pinned buffer of the driver: written there and read again.

    Source: CUDA Driver API, "API synchronization behavior" (pageable memory is copied to staging memory, and from there by
    DMA). That the buffer's traffic reaches memory, instead of staying in the processor's cache, is unverified.
    """

    copy: Fraction = Fraction(1)
    cpu_expert: Fraction = Fraction(1)
    staging: Fraction = Fraction(2)

    def of_copy(self, *, is_pageable: bool) -> Fraction:
        """Return the factor of a copy over the link, in either direction."""
        return self.copy + self.staging if is_pageable else self.copy


def demand_bytes_per_s(num_bytes: int, duration_ns: int, factor: Fraction = Fraction(1)) -> int:
    """Return the rate at which work draws on memory that moves `num_bytes` of weights in `duration_ns`, rounded up.

    Raises ValueError if either is less than 1.
    """
    if num_bytes < 1 or duration_ns < 1:
        raise ValueError(f"num_bytes is {num_bytes} and duration_ns {duration_ns}; they should be 1 or more")
    rate = num_bytes * NS_PER_S * factor / duration_ns
    return max(1, -(-rate.numerator // rate.denominator))


class Flow:
    """Work in progress that draws on memory."""

    __slots__ = ("_done", "_rate", "_since_ns", "demand", "end_ns", "on_end", "rank", "target_ns")

    def __init__(self, rank: int, demand: int, target_ns: int, now_ns: int, on_end: Callable[[], None]) -> None:
        self.rank = rank
        self.demand = demand
        self.target_ns = target_ns  # by itself, the time up to where it goes
        self.end_ns = _NEVER  # at its present rate
        self.on_end = on_end
        self._done = 0  # at `_since_ns`, in parts of a byte
        self._rate = 0  # parts of a byte in 1 ns
        self._since_ns = now_ns


class HostMemory:
    """Share out a bandwidth. Raises ValueError if it is less than 1 byte/s.

        flow = start(rank, demand, duration_ns, on_end)     # on_end() is called when it has ended
        served_ns(flow); aim(flow, target_ns); stop(flow)   # while it is in progress
        linger(rank, duration_ns, on_end)                   # work that draws nothing, and ends among flows

    Ranks are the owners': no two flows in progress have the same.
    """

    def __init__(self, env: Clock, bytes_per_s: int) -> None:
        if bytes_per_s < 1:
            raise ValueError(f"bytes_per_s is {bytes_per_s}; it should be 1 or more")
        self._env = env
        self._bytes_per_s = bytes_per_s
        self._scale = 1
        self._flows: dict[int, Flow] = {}  # by rank
        self._lingering: dict[int, Flow] = {}  # by rank, of no demand
        self._demanded = 0
        self._is_short = False  # some flow has less than it demands
        self._is_ending = False  # flows end now; rates are set when all that ends at this instant has
        self._alarm_ns = _NEVER

    def start(self, rank: int, demand: int, duration_ns: int, on_end: Callable[[], None]) -> Flow:
        """Start work that takes `duration_ns` by itself, drawing `demand` bytes/s. Raises ValueError for less than 1."""
        if demand < 1:
            raise ValueError(f"demand is {demand}; it should be 1 or more")
        assert rank not in self._flows, "a flow of this rank is in progress"
        self._flows[rank] = flow = Flow(rank, demand, duration_ns, self._env.now, on_end)
        self._demanded += demand
        self._share()
        return flow

    def served_ns(self, flow: Flow) -> Fraction:
        """Return how far a flow has come: by itself, it would have taken this time to there. Exact, up to `target_ns`."""
        done = flow._done + flow._rate * (self._env.now - flow._since_ns)
        return min(Fraction(flow.target_ns), Fraction(done, flow.demand * self._scale))

    def aim(self, flow: Flow, target_ns: int) -> None:
        """Have a flow in progress end elsewhere, at an earlier or later point of its work that it has not passed."""
        self._advance(flow)
        flow.target_ns = target_ns
        if flow._rate:
            self._set_end(flow)
        if not self._is_ending:
            self._set_alarm()

    def stop(self, flow: Flow) -> None:
        """Take a flow out, wherever it is; its `on_end` is not called."""
        self._remove(flow)
        self._share()

    def linger(self, rank: int, duration_ns: int, on_end: Callable[[], None]) -> None:
        """Have work go on for so long that draws nothing: it ends in the order of ranks, with the flows of that instant."""
        assert rank not in self._flows, "a flow of this rank is in progress"
        self._lingering[rank] = flow = Flow(rank, 0, duration_ns, self._env.now, on_end)
        flow.end_ns = self._env.now + duration_ns
        if not self._is_ending:
            self._set_alarm()

    def _remove(self, flow: Flow) -> None:
        del (self._flows if flow.demand else self._lingering)[flow.rank]
        self._demanded -= flow.demand

    def _in_progress(self) -> Iterable[Flow]:
        return chain(self._flows.values(), self._lingering.values())

    def _share(self) -> None:
        """Set all rates anew, where the set of flows has changed."""
        if self._is_ending:
            return
        if self._demanded <= self._bytes_per_s:
            for flow in self._flows.values():
                if self._is_short or flow._rate == 0:
                    self._set_rate(flow, flow.demand * self._scale)
            self._is_short = False
        else:
            self._is_short = True
            self._fill()
        self._set_alarm()

    def _fill(self) -> None:
        left, by_demand = self._bytes_per_s, sorted(self._flows.values(), key=lambda flow: (flow.demand, flow.rank))
        num_left = len(by_demand)
        for flow in by_demand:
            if flow.demand * num_left > left:
                break
            left -= flow.demand
            num_left -= 1
        # Together they want more than there is: one flow at least is left.
        self._rescale(num_left // gcd(num_left, self._scale))
        num_content = len(by_demand) - num_left
        for flow in by_demand[:num_content]:
            self._set_rate(flow, flow.demand * self._scale)
        for flow in by_demand[num_content:]:
            self._set_rate(flow, left * (self._scale // num_left))

    def _rescale(self, factor: int) -> None:
        """Count in smaller parts."""
        if factor > 1:
            self._scale *= factor
            for flow in self._flows.values():
                flow._done *= factor
                flow._rate *= factor

    def _advance(self, flow: Flow) -> None:
        now_ns = self._env.now
        flow._done += flow._rate * (now_ns - flow._since_ns)
        flow._since_ns = now_ns

    def _set_rate(self, flow: Flow, rate: int) -> None:
        if rate != flow._rate:
            self._advance(flow)
            flow._rate = rate
        self._set_end(flow)

    def _set_end(self, flow: Flow) -> None:
        left = flow.target_ns * flow.demand * self._scale - flow._done
        flow.end_ns = flow._since_ns + max(0, -(-left // flow._rate))

    def _set_alarm(self) -> None:
        """Be called when the next flow ends. An alarm that has been set rings, also where flows take longer now."""
        next_ns = min((flow.end_ns for flow in self._in_progress()), default=_NEVER)
        if next_ns < self._alarm_ns:
            self._alarm_ns = next_ns
            alarm = simpy.Event(self._env)
            alarm._ok, alarm._value = True, None
            alarm.callbacks.append(self._ring)
            self._env.schedule(alarm, URGENT, next_ns - self._env.now)

    def _ring(self, _: simpy.Event) -> None:
        """End the flows whose work is done."""
        now_ns = self._env.now
        if now_ns >= self._alarm_ns:  # else an alarm that an earlier one has replaced
            self._alarm_ns = _NEVER
        ended = sorted((flow for flow in self._in_progress() if flow.end_ns <= now_ns), key=lambda flow: flow.rank)
        for flow in ended:
            self._remove(flow)
        self._is_ending = True
        for flow in ended:
            flow.on_end()
        self._is_ending = False
        if ended:
            self._share()
        else:
            self._set_alarm()


def is_ever_short(bytes_per_s: int, most: Iterable[int]) -> bool:
    """Tell whether flows of these demands, the most of each rank, could ever want more than the bandwidth.

    Where they cannot, nothing is gained by sharing: servers without a memory give the same times with fewer events.
    """
    return sum(most) > bytes_per_s
