"""The steps of a run on several GPUs, which meet in every layer: docs/semantics.md, "Several GPUs".

The run's own counts follow the critical path: from one meeting to the next, time went to what the GPU did that came last.

Limits: no expert on the CPU, in low precision or read in place; no KV cache that is swapped; nothing but transfers overlaps
with the exchanges of a layer; copies do not slow the streams.
"""

from collections.abc import Generator, Iterable, Sequence

import simpy
from simpy.events import Timeout

from simulator.engine import StepEnded, Waits, count_step
from simulator.gpus.exchange import Exchange
from simulator.gpus.gpu import TIMES_OF_LAYERS, Gpu
from simulator.gpus.routes import Router, Routes
from simulator.gpus.shares import Divided, Shares
from simulator.metrics.counters import Counters
from simulator.resources.clock import Clock
from simulator.workload.step import Step, Wait

_OF_THE_RUN = {
    *TIMES_OF_LAYERS,
    "num_layers",
    "step_compute_ns",
    "step_overhead_ns",
    "steps",
    "routed_tokens",
    "decode_steps",
    "output_tokens",
    "prefill_tokens",
    "all_to_all_ns",
    "barrier_ns",
    "idle_ns",
    "token_transitions",
    "cross_gpu_transitions",
    "now_ns",
}
"""What is counted once for all GPUs; of the rest each has its own."""


class Lockstep:
    """Run steps on GPUs that are alike.

    `meets` says that GPUs exchange tokens in every layer; else each goes through a step by itself, and they meet at its end.
    `steps`, `step_ended` and `counters` are as in `simulator.engine.Engine`.
    """

    def __init__(
        self,
        *,
        env: Clock,
        steps: Iterable[Step | Wait],
        gpus: Sequence[Gpu],
        router: Router,
        exchange: Exchange,
        meets: bool,
        step_ended: StepEnded,
    ) -> None:
        self.env = env
        self.gpus = gpus
        self._steps = steps
        self._num_layers = gpus[0].counters.num_layers
        self.counters = Counters(num_layers=self._num_layers)
        self.snapshots: list[list[Counters]] = []
        """The counts of each GPU whenever a snapshot was taken."""
        self._times = [getattr(self.counters, name) for name in TIMES_OF_LAYERS]
        self._shares = Shares(len(gpus))
        self._router = router
        self._exchange = exchange
        self._meets = meets
        self._step_ended = step_ended

    def run(self) -> None:
        """Run to the end of the last step."""
        self.env.run(until=self.env.process(self._lockstep()))
        for gpu in self.gpus:
            gpu.close()

    def snapshot(self) -> Counters:
        """Return the run's counts up to now, and keep those of each GPU."""
        self.snapshots.append([gpu.snapshot() for gpu in self.gpus])
        counts = self.counters.copy()
        counts.now_ns = self.env.now
        for name in Counters.names():
            if name not in _OF_THE_RUN:
                values = [getattr(of_gpu, name) for of_gpu in self.snapshots[-1]]
                is_list = isinstance(values[0], list)
                setattr(counts, name, [sum(of) for of in zip(*values, strict=True)] if is_list else sum(values))
        return counts

    def causes_ns(self) -> list[int]:
        """Return what the time up to the latest step's end went to: `ATTRIBUTION`, copies of KV cache, all-to-all."""
        return [*self.counters.attribution_ns().values(), self.counters.kv_swap_ns, self.counters.all_to_all_ns]

    def h2d_busy_ns(self) -> int:
        """Return for how long links have been serving, up to now, on average over GPUs."""
        return sum(gpu.link.busy_ns() for gpu in self.gpus) // len(self.gpus)

    def num_unused_prefetches(self) -> int:
        """Count the prefetched experts that no gate has asked for yet and that nothing has evicted."""
        return sum(gpu.dispatch.num_unused_prefetches() for gpu in self.gpus)

    def _lockstep(self) -> Waits:
        env = self.env
        for step in self._steps:
            if isinstance(step, Wait):
                assert step.until_ns is not None, "only a machine behind a router is called"
                yield Timeout(env, step.until_ns - env.now)
                self.counters.idle_ns += env.now - self.gpus[0].stream.free_ns
                for gpu in self.gpus:
                    gpu.idle(env.now)
                continue
            divided = self._shares.divide(step)
            self._router.step_started()
            for gpu, share in zip(self.gpus, divided.shares, strict=True):
                if self._meets or share.tokens:
                    gpu.begin(step, share, sees_all=self._meets)
            yield from self._together(step, divided) if self._meets else self._apart(step, divided)
            heads_ns = [gpu.head(share) for gpu, share in zip(self.gpus, divided.shares, strict=True)]
            last = self._meet(range(0 if self._meets else self._num_layers))
            head_ns, overhead_ns = heads_ns[last]
            self.counters.step_compute_ns += head_ns - overhead_ns
            self.counters.step_overhead_ns += overhead_ns
            yield Timeout(env, self.gpus[0].stream.free_ns - env.now)
            count_step(self.counters, step)
            self._step_ended(step, env.now)

    def _together(self, step: Step, divided: Divided) -> Waits:
        """Go through the layers of a step, all GPUs at once; tokens go to their experts and come back."""
        env, gpus = self.env, self.gpus
        for layer in range(self._num_layers):
            for gpu in gpus:
                gpu.lead(layer)
            self._meet([layer])
            routes = self._route(step, divided, layer)
            self._send(layer, "dispatch", routes)
            yield Timeout(env, gpus[0].stream.free_ns - env.now)
            yield from self._all([gpu.experts(layer, of) for gpu, of in zip(gpus, routes.tokens_of, strict=True)])
            self._meet([layer])
            self._send(layer, "combine", routes)

    def _apart(self, step: Step, divided: Divided) -> Waits:
        """Let each GPU go through the layers of a step with its own tokens."""
        routes = [self._route(step, divided, layer) for layer in range(self._num_layers)]
        taking_part = [at for at, share in enumerate(divided.shares) if share.tokens]
        yield from self._all([self._alone(self.gpus[at], at, routes) for at in taking_part])

    def _alone(self, gpu: Gpu, at: int, routes: Sequence[Routes]) -> Waits:
        for layer, of_layer in enumerate(routes):
            gpu.lead(layer)
            yield Timeout(self.env, gpu.stream.free_ns - self.env.now)
            yield from gpu.experts(layer, of_layer.tokens_of[at])

    def _route(self, step: Step, divided: Divided, layer: int) -> Routes:
        routes = self._router.routes(step.tokens, divided.gpu_of_token, layer)
        self.counters.token_transitions += routes.transitions
        self.counters.cross_gpu_transitions += routes.crossings
        return routes

    def _all(self, works: Sequence[Waits]) -> Waits:
        """Have GPUs work at the same time, until the last is done. Those that wait for nothing cost no event."""
        if len(works) == 1:
            yield from works[0]
            return
        going_on = []
        for work in works:
            first = next(work, None)
            if first is not None:
                going_on.append(self.env.process(_rest(first, work)))
        yield from going_on

    def _meet(self, layers: Iterable[int]) -> int:
        """Have all wait for the GPU that comes last, the first of those, and return it; the run's time went to its work."""
        until_ns = max(gpu.stream.free_ns for gpu in self.gpus)
        last = next(at for at, gpu in enumerate(self.gpus) if gpu.stream.free_ns == until_ns)
        for layer in layers:
            spent_ns = [gpu.since_noted_ns(layer) for gpu in self.gpus][last]
            for times, value in zip(self._times, spent_ns, strict=True):
                times[layer] += value
        for gpu in self.gpus:
            gpu.wait(until_ns)
        return last

    def _send(self, layer: int, name: str, routes: Routes) -> None:
        """Exchange tokens among GPUs that have met."""
        if len(self.gpus) == 1:
            return
        is_back, exchange = name == "combine", self._exchange
        duration_ns = exchange.ns(routes.sent, is_back=is_back)
        self.counters.all_to_all_ns += duration_ns
        counts = zip(*routes.sent, strict=True) if is_back else routes.sent
        for gpu, to_others in zip(self.gpus, counts, strict=True):
            gpu.exchange(layer, name, duration_ns, sum(to_others) * exchange.token_bytes)


def _rest(first: simpy.Event, work: Waits) -> Generator[simpy.Event, None, None]:
    """Go on with work that waits for its first event."""
    yield first
    yield from work
