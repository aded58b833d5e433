"""Use an offloaded model as it is: `with Session(offloaded, device, num_slots=64): model.generate(...)`.

Every forward pass is a step. The policies are those of the simulator, by name or as classes of one's own.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hardware_profiles.errors import InputError
from simulator.dispatch import Dispatch
from simulator.eviction import EVICTION, Eviction
from simulator.lay_out import lay_out_cache, smallest_cache
from simulator.metrics.counters import Counters
from simulator.miss import MISS, Miss
from simulator.oracle import RecordedFuture
from simulator.prefetch import PREFETCH, Prefetch
from simulator.run_view import RunView
from simulator.view import View
from validation.runtime.cpu_pool import CpuPool
from validation.runtime.device import Device
from validation.runtime.executor import Executor
from validation.runtime.link import CopyLink
from validation.runtime.offload import OffloadedModel
from validation.runtime.recording import Recording
from validation.runtime.slots import SlotChannel, Slots
from validation.runtime.throttle import Throttle


class Session(AbstractContextManager["Session"]):
    """A cache of `num_slots` experts in front of an offloaded model, for as long as the context lasts.

    `eviction`, `prefetch` and `miss` build a policy from a view. Raises InputError for a cache that is too small for one
    token's experts, or a policy that needs to know the future.
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
        num_cpu_workers: int = 1,
        throttle: Throttle | None = None,
    ) -> None:
        num_banks = offloaded.host.num_banks
        smallest = smallest_cache(num_banks=num_banks, top_k=offloaded.top_k, scope=scope)
        if num_slots < smallest:
            raise InputError("num_slots", f"is {num_slots}; one token's experts need {smallest} (scope {scope})")
        self._offloaded = offloaded
        view = RunView(
            num_layers=offloaded.num_layers, make_future=_refuse_oracle, max_lookahead=offloaded.num_layers - 1
        )
        cache = lay_out_cache(
            make_eviction=lambda: eviction(view),
            num_slots=num_slots,
            num_banks=num_banks,
            num_experts=offloaded.num_experts,
            top_k=offloaded.top_k,
            scope=scope,
            start="cold",
            held=view.held_keys,
            count_popularity=_refuse_popularity,
        )
        with ExitStack() as stack:
            link = stack.enter_context(CopyLink(device, throttle=throttle))
            cpu_pool = stack.enter_context(CpuPool(num_cpu_workers, 1))
            self._resources = stack.pop_all()
        slots = Slots(device, offloaded.host, num_slots=num_slots)
        recording = Recording(device, keep_spans=False)
        self._executor = Executor(
            offloaded,
            device,
            dispatch=Dispatch(
                view=view,
                cache=cache,
                channel=SlotChannel(cache=cache, slots=slots, host=offloaded.host, link=link),
                prefetch=prefetch(view),
                miss=miss(view),
                timeline=None,
                now_ns=device.now_ns,
            ),
            view=view,
            slots=slots,
            link=link,
            cpu_pool=cpu_pool,
            recording=recording,
            forced=False,
            observed=False,
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


def _refuse_oracle() -> RecordedFuture:
    raise InputError("policy", "needs to know the routing to come; a live model cannot tell, a replayed trace can")


def _refuse_popularity() -> NDArray[np.int64]:
    raise InputError("policy", "pins popular experts, which a live model cannot tell beforehand; replay a trace")
