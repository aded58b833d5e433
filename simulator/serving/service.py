"""A service put together: scheduler, KV cache and record, for an engine to drive."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from hardware_profiles.errors import InputError
from hardware_profiles.quantity import format_bytes
from simulator.engine import Engine
from simulator.gpus.lockstep import Lockstep
from simulator.inputs import Inputs
from simulator.metrics.distribution import Distribution
from simulator.model.footprint import expert_bytes
from simulator.prepare import Prepared
from simulator.scenario import Scenario
from simulator.serving.choice import SchedulerChoice, limits_of, slos_of
from simulator.serving.intake import Requests
from simulator.serving.kv_pages import KvPages
from simulator.serving.memory import ExpertSlots, KvMemory
from simulator.serving.record import CAUSES, CAUSES_OF_SEVERAL_GPUS, Readings, Record
from simulator.serving.scheduler import Scheduler, Sees
from simulator.serving.scheduling import SCHEDULING
from simulator.serving.served import Served
from simulator.serving.traffic import Traffic
from simulator.serving.warmup import MSER5
from simulator.workload.step import Step, Wait

_SPARE_FRAC = 0.1


class Service:
    """What serves a workload on one machine. `steps` and `step_ended` are for the engine, which `read_from` then reads.

    `requests` are those that it takes: by default all of the traffic.

    `requests`, `ttft`, `itl`, `tpot` and `e2e` are of all classes together.
    """

    num_replicas = 1

    def __init__(
        self,
        scenario: Scenario,
        inputs: Inputs,
        ready: Prepared,
        traffic: Traffic,
        source: str,
        *,
        requests: Requests | None = None,
        num_gpus: int = 1,
    ) -> None:
        """Put it together; `ready` is of one of `num_gpus` that are alike. Raises InputError."""
        self.choice = scenario.scheduler or SchedulerChoice()
        self.stop = traffic.stop
        self.slos = slos_of(scenario.slo)
        self.warmup = scenario.warmup or MSER5
        self.record = Record(slos=self.slos, causes=CAUSES if num_gpus == 1 else CAUSES_OF_SEVERAL_GPUS)
        self._num_gpus = num_gpus
        self._ready = ready
        self._source = source
        self._traffic = traffic
        self._expert_bytes = expert_bytes(inputs.model)
        self.memory = KvMemory(num_gpus * kv_bytes_at_start(self.choice, inputs, ready, source))
        if self.choice.memory == "dynamic":
            ready.cache.can_shrink = True
        self.pages = KvPages(inputs.model, inputs.kv_cache, self.choice.page_tokens)
        view = ready.view
        self.scheduler = Scheduler(
            requests=traffic.intake if requests is None else requests,
            scheduling=SCHEDULING[self.choice.policy](max_step_tokens=self.choice.max_step_tokens),
            limits=limits_of(self.choice),
            pages=self.pages,
            memory=self.memory,
            routing=traffic.routing,
            record=self.record,
            stop=self.stop,
            sees=Sees(gate_weights=view.needs_gate_weights, lookahead_layers=view.lookahead_layers),
        )

    @property
    def kv_copy_ns(self) -> Callable[[int, bool], int] | None:
        """How long copies of KV cache take, None where there are none."""
        costs = self._ready.costs
        if self.choice.preemption != "swap":
            return None
        return lambda num_bytes, to_host: costs.kv_copy_ns(num_bytes, to_host=to_host)

    def read_from(self, engine: Engine | Lockstep) -> None:
        """Take readings from the engine that runs the steps; let KV cache have the memory of its experts, if asked to."""
        cache = self._ready.cache
        self.record.read_from(
            Readings(
                causes_ns=engine.causes_ns,
                h2d_busy_ns=engine.h2d_busy_ns,
                kv_bytes=lambda: self.memory.used_bytes,
                expert_slots=lambda: self._num_slots - self.memory.slots_given,
            )
        )
        self._num_slots = self._num_gpus * cache.num_slots
        if self.choice.memory == "dynamic":
            assert isinstance(engine, Engine), "refused on several GPUs"
            at_first = [pool.num_slots for pool in cache.pools]
            smallest = self._ready.view.top_k
            self.memory.share_with(
                ExpertSlots(
                    bytes_each=self._expert_bytes,
                    most_to_give=sum(max(0, num_slots - smallest) for num_slots in at_first),
                    give_up=partial(engine.dispatch.give_up_slot, smallest_pool=smallest),
                    take_back=partial(cache.grow, at_first),
                ),
                spare_frac=_SPARE_FRAC,
            )

    def steps(self) -> Iterator[Step | Wait]:
        """Yield the steps of the run."""
        return self.scheduler.steps()

    def step_ended(self, step: Step, now_ns: int) -> None:
        """Note the end of a step."""
        self.scheduler.step_ended(step, now_ns)

    @property
    def requests(self) -> Sequence[Served]:
        """All that have arrived, in the order in which they did."""
        return self.record.requests

    @property
    def ttft(self) -> Distribution:
        """From arrival to the first output token."""
        return self._merged("ttft")

    @property
    def itl(self) -> Distribution:
        """Between output tokens."""
        return self._merged("itl")

    @property
    def tpot(self) -> Distribution:
        """A request's mean time between output tokens."""
        return self._merged("tpot")

    @property
    def e2e(self) -> Distribution:
        """From arrival to the last output token."""
        return self._merged("e2e")

    @property
    def queueing(self) -> Distribution:
        """From arrival to the start of the first step."""
        return self._merged("queueing")

    def in_system(self) -> int:
        """Count the requests that are neither answered nor refused."""
        return self.scheduler.in_system()

    def notes(self) -> list[str]:
        """Say what workload and drawing have assumed or left out."""
        return self._traffic.notes()

    def _merged(self, name: str) -> Distribution:
        return Distribution.merged([getattr(of_class, name) for of_class in self.record.classes.values()])


def kv_bytes_at_start(choice: SchedulerChoice, inputs: Inputs, ready: Prepared, source: str) -> int:
    """Return the bytes of KV cache at the start. Raises InputError if there are none."""
    budget, size = ready.budget, ready.size
    if choice.memory == "dynamic" and size.low:
        raise InputError(
            source, "scheduler.memory: dynamic does not go with low_precision, whose slots stay as they are"
        )
    if budget.kv_cache_bytes and choice.memory == "fixed":
        return budget.kv_cache_bytes
    taken = (size.experts + size.staging) * expert_bytes(inputs.model) + size.low * ready.costs.low_expert_bytes
    left = budget.expert_cache_bytes + budget.kv_cache_bytes - taken
    if left <= 0 and choice.memory == "fixed":
        raise InputError(
            source,
            f"cache: {format_bytes(taken)} leave nothing of the GPU's memory for KV cache, {format_bytes(-left)} too much; "
            "use a smaller cache, or scheduler.kv_cache to assume that it fits",
        )
    return max(0, left)
