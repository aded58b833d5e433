"""Use an offloaded model as it is: `with Session(offloaded, device, num_slots=64): model.generate(...)`.

Every forward pass is a step. The policies are those of the simulator, by name or as classes of one's own.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType

from torch import Tensor

from hardware_profiles.errors import InputError
from simulator.dispatch import Dispatch, Policies
from simulator.eviction import EVICTION, Eviction
from simulator.lay_out import CacheSize, lay_out_cache, smallest_cache
from simulator.metrics.counters import Counters
from simulator.miss import MISS, Miss
from simulator.miss.protocol import Reroutes
from simulator.model.quantisation import parse_quantisation
from simulator.order.protocol import Order
from simulator.placement import PLACEMENT
from simulator.prefetch import PREFETCH, NoPrefetch, Prefetch
from simulator.queue.protocol import Queue
from simulator.slots import SLOTS
from simulator.view import View
from validation.runtime.cpu_pool import CpuPool
from validation.runtime.device import Device
from validation.runtime.executor import READ_IN_PLACE, Executor
from validation.runtime.link import CopyLink
from validation.runtime.live_view import live_view
from validation.runtime.offload import OffloadedModel
from validation.runtime.recording import Recording
from validation.runtime.slots import Low, SlotChannel, Slots
from validation.runtime.throttle import Throttle


class Session(AbstractContextManager["Session"]):
    """A cache of `num_slots` experts in front of an offloaded model, for as long as the context lasts.

    With `low_precision`, a format's name, there are copies of all experts in it, and `num_low_slots` beside the others.
    `eviction`, `prefetch`, `miss`, `order` and `queue` build a policy from a view; `staging` slots are beside the others.
    Raises InputError for a cache that is too small, or a policy that needs to know the future, the
    past or the machine.
    """

    def __init__(
        self,
        offloaded: OffloadedModel,
        device: Device,
        *,
        num_slots: int,
        scope: str = "per_layer",
        eviction: Callable[[View], Eviction] = EVICTION["lru"],
        prefetch: Callable[[View], Prefetch] = PREFETCH["none"],
        miss: Callable[[View], Miss] = MISS["fetch"],
        order: Callable[[View], Order] | None = None,
        queue: Callable[[View], Queue] | None = None,
        staging: int = 0,
        low_precision: str | None = None,
        num_low_slots: int = 0,
        num_cpu_workers: int = 1,
        throttle: Throttle | None = None,
    ) -> None:
        num_banks = offloaded.host.num_banks
        smallest = smallest_cache(num_banks=num_banks, top_k=offloaded.top_k, scope=scope)
        if num_slots < smallest:
            raise InputError("num_slots", f"is {num_slots}; a run needs {smallest} or more (scope {scope})")
        self._offloaded = offloaded
        view = live_view(offloaded)
        cache = lay_out_cache(
            view=view,
            make_eviction=lambda: eviction(view),
            placement=PLACEMENT["none"](view),
            split=SLOTS["equal"](view),
            size=CacheSize(experts=num_slots, staging=staging, low=num_low_slots),
            scope=scope,
            held=view.held_keys,
        )
        prefetches = prefetch(view)
        policies = Policies(
            miss=miss(view),
            prefetch=None if isinstance(prefetches, NoPrefetch) else prefetches,
            order=None if order is None else order(view),
            queue=None if queue is None else queue(view),
        )
        if isinstance(policies.miss, Reroutes) or getattr(policies.miss, "LOSSY", False):
            view.require_gate_weights()  # what is lost is counted by them
        if getattr(policies.miss, "NEEDS_LOW_PRECISION", False) and not num_low_slots:
            raise InputError(
                "num_low_slots", "is 0, and the policy uses low-precision copies; give them slots and a format"
            )
        if getattr(policies.miss, "READS_IN_PLACE", False):
            raise InputError("policy", f"{READ_IN_PLACE}; use another")
        low = None
        if num_low_slots:
            low = _low(offloaded, device, low_precision, num_low_slots + staging)
        with ExitStack() as stack:
            link = stack.enter_context(CopyLink(device, throttle=throttle))
            cpu_pool = stack.enter_context(CpuPool(num_cpu_workers, 1))
            self._resources = stack.pop_all()
        slots = Slots(device, offloaded.host, num_slots=cache.num_slots)
        channel = SlotChannel(cache=cache, slots=slots, host=offloaded.host, link=link, low=low)
        recording = Recording(device, keep_spans=False)
        self._executor = Executor(
            offloaded,
            device,
            dispatch=Dispatch(
                view=view,
                cache=cache,
                channel=channel,
                policies=policies,
                timeline=None,
                now_ns=device.now_ns,
                released=channel.released,
            ),
            view=view,
            slots=slots,
            link=link,
            cpu_pool=cpu_pool,
            recording=recording,
            forced=False,
            observed=False,
            low=low,
            holds_link=queue is not None,
        )
        recording.start()

    def counters(self) -> Counters:
        """Return the counts up to now: accesses, hits, misses, transfers by layer."""
        return self._executor.snapshot()

    def __enter__(self) -> "Session":
        self._offloaded.visit = self._visit
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._offloaded.visit = None
        self._resources.close()

    def _visit(self, layer: int, hidden_NH: Tensor, ids_NK: Tensor, weights_NK: Tensor) -> Tensor:
        if layer == 0:
            self._executor.begin(None)
        return self._executor.visit(layer, hidden_NH, ids_NK, weights_NK)


def _low(offloaded: OffloadedModel, device: Device, low_precision: str | None, num_slots: int) -> Low:
    """Return low-precision copies and slots for them. Raises InputError for a format that will not do."""
    if low_precision is None:
        raise InputError("low_precision", "is missing; name the format of the copies that have slots, such as int8")
    try:
        copies = offloaded.low_copies(parse_quantisation(low_precision), device)
    except ValueError as error:
        raise InputError("low_precision", str(error)) from None
    return Low.on(device, copies, num_slots=num_slots)
