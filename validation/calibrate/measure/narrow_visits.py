"""Visits of the executor to a few experts of each layer.

Each layer has a few slots, and its gate's picks are narrowed to as many experts: the work of a visit is that of a run, and
the memory of a few experts per layer is enough, for a model of any size. Every expert is a hit, unless `first_expert` is
moved on between passes.

Limits: a pass touches some hundred megabytes of experts, a run gigabytes: address translation and caches are flattered.

Legend: N tokens, K top-k, H hidden width.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from simulator.dispatch import Dispatch, Policies
from simulator.eviction import EVICTION
from simulator.lay_out import CacheSize, lay_out_cache
from simulator.miss import MISS
from simulator.placement import PLACEMENT
from simulator.slots import SLOTS
from validation.calibrate.subject import Subject
from validation.runtime.cpu_pool import CpuPool
from validation.runtime.device import Mark
from validation.runtime.executor import Executor
from validation.runtime.link import CopyLink
from validation.runtime.live_view import live_view
from validation.runtime.recording import Recording, SpanKind, Wait
from validation.runtime.slots import SlotChannel, Slots
from validation.runtime.throttle import Throttle

_MOST_EXPERTS = 4


class NarrowVisits:
    """An executor with LRU eviction and no prefetch, over a cache of `num_slots` per layer. A context manager.

    By default a few, and all that is asked for has one. Picks begin at `first_expert`.

    `experts` holds, from pass to pass until it is cleared, when each expert began and ended.
    """

    def __init__(self, subject: Subject, *, num_slots: int | None = None, throttle: Throttle | None = None) -> None:
        self._subject = subject
        offloaded = subject.offloaded
        self._num_slots = num_slots or min(offloaded.num_experts, max(offloaded.top_k, _MOST_EXPERTS))
        self._throttle = throttle
        self.first_expert = 0
        self.dispatch: Dispatch | None = None
        self._resources = ExitStack()
        self._executor: Executor | None = None
        self._spans = _ExpertSpans(subject)
        self._narrowed: dict[tuple[int, int, int], Tensor] = {}

    @property
    def experts(self) -> list[tuple[Mark, Mark]]:
        """Start and end of each expert, in order."""
        return self._spans.experts

    def begin(self) -> None:
        """Begin a forward pass."""
        assert self._executor is not None, "not within the context"
        self._executor.begin(None)

    def narrowed(self, ids_NK: Tensor) -> Tensor:
        """Return ids of as many tokens and ranks, distinct in each row, of the experts that have slots."""
        num_tokens, top_k = ids_NK.shape
        key = (num_tokens, top_k, self.first_expert)
        known = self._narrowed.get(key)
        if known is None:
            ids = (torch.arange(num_tokens)[:, None] + torch.arange(top_k)[None, :]) % self._num_slots
            known = self._narrowed[key] = ((ids + self.first_expert) % self._subject.offloaded.num_experts).to(ids_NK)
        return known

    def visit(self, layer: int, hidden_NH: Tensor, ids_NK: Tensor, weights_NK: Tensor) -> Tensor:
        """Run the experts of one layer, in the executor."""
        assert self._executor is not None, "not within the context"
        return self._executor.visit(layer, hidden_NH, ids_NK, weights_NK)

    def __enter__(self) -> Self:
        offloaded, device = self._subject.offloaded, self._subject.device
        num_banks = offloaded.host.num_banks
        view = live_view(offloaded)
        cache = lay_out_cache(
            view=view,
            make_eviction=lambda: EVICTION["lru"](view),
            placement=PLACEMENT["none"](view),
            split=SLOTS["equal"](view),
            size=CacheSize(experts=self._num_slots * num_banks),
            scope="per_layer",
            held=view.held_keys,
        )
        link = self._resources.enter_context(CopyLink(device, throttle=self._throttle))
        cpu_pool = self._resources.enter_context(CpuPool(1, 1))
        slots = Slots(device, offloaded.host, num_slots=self._num_slots * num_banks)
        self.dispatch = dispatch = Dispatch(
            view=view,
            cache=cache,
            channel=SlotChannel(cache=cache, slots=slots, host=offloaded.host, link=link),
            policies=Policies(miss=MISS["fetch"](view)),
            timeline=None,
            now_ns=device.now_ns,
        )
        self._executor = Executor(
            offloaded,
            device,
            dispatch=dispatch,
            view=view,
            slots=slots,
            link=link,
            cpu_pool=cpu_pool,
            recording=self._spans,
            forced=False,
            observed=False,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._executor = None
        self._resources.close()


class _ExpertSpans(Recording):
    """A recording that keeps the experts' marks as they are, and nothing else."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject.device, keep_spans=False)
        self.experts: list[tuple[Mark, Mark]] = []

    def span(self, kind: SpanKind, layer: int, key: int, start: Mark, end: Mark, waits: Sequence[Wait] = ()) -> None:
        """Keep an expert's."""
        del layer, key, waits
        if kind == "expert":
            self.experts.append((start, end))
