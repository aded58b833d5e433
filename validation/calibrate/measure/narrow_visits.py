"""Visits of the executor to a few experts of each layer at a time, among as many as memory sensibly holds.

A pass is narrowed to a few experts of each layer, those that were used longest ago: the work of a visit is that of a run,
and since some gigabytes of experts come by before one does again, caches are as cold as a run leaves them, for a model of
any size. Every expert of a pass is a hit, or, if asked for, a miss: fetched, or computed by the CPU.

Limits: the same experts in every layer; of a model whose few experts per layer fill all of the memory, no others come by.

Legend: N tokens, K top-k, H hidden width.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from simulator.dispatch import Dispatch, Policies
from simulator.eviction import EVICTION
from simulator.lay_out import CacheSize, lay_out_cache
from simulator.miss import MissAction
from simulator.placement import Residents, Room
from simulator.run_view import RunView
from simulator.slots import SLOTS
from validation.calibrate.measure.rotation import Rotation
from validation.calibrate.subject import SLOT_BYTES, Subject
from validation.runtime.cpu_pool import CpuPool
from validation.runtime.device import Device, Mark
from validation.runtime.executor import Executor
from validation.runtime.link import CopyLink
from validation.runtime.live_view import live_view
from validation.runtime.recording import Recording, SpanKind, Wait
from validation.runtime.slots import SlotChannel, Slots
from validation.runtime.throttle import Throttle


@dataclass(frozen=True, slots=True, kw_only=True)
class Misses:
    """Whether all of a pass's experts are fetched; else, of each layer, how many the CPU computes, and the others are hits.

    Both as far as the layer has experts for it.
    """

    are_fetched: bool = False
    on_cpu: int = 0


NO_MISSES = Misses()


class NarrowVisits:
    """An executor with LRU eviction and no prefetch, over a cache that is full of experts. A context manager.

    `slot_bytes` is what the cache may take, if the experts that are used at once do not need more. With `has_misses`, there
    may be passes with misses, and half of the experts are absent, so that many take turns on either side; and passes that
    look ahead.

    `experts` holds, from pass to pass until it is cleared, when each expert began and ended, `lookaheads` the same of each
    time that the next layer's gate was applied, which is once in each visit of a pass that `looks_ahead`.
    """

    def __init__(
        self,
        subject: Subject,
        *,
        slot_bytes: int = SLOT_BYTES,
        has_misses: bool = False,
        throttle: Throttle | None = None,
    ) -> None:
        self._subject = subject
        offloaded = subject.offloaded
        self._num_at_once = offloaded.top_k if has_misses else subject.num_at_once
        most = offloaded.num_experts
        if has_misses:
            most = min(most // 2, most - offloaded.top_k)
        affordable = slot_bytes // (offloaded.host.num_banks * subject.expert_bytes)
        self._num_slots = max(self._num_at_once, min(most, affordable))
        self._has_misses = has_misses
        self._throttle = throttle
        self._rotation = Rotation(offloaded.num_experts, num_resident=self._num_slots)
        self._miss = _AsAsked()
        self._ahead: _LooksAhead | None = None
        self._misses = NO_MISSES
        self._narrowed: Tensor | None = None  # of this pass
        self.dispatch: Dispatch | None = None
        self._resources = ExitStack()
        self._executor: Executor | None = None
        self._cpu_pool: CpuPool | None = None
        self._spans = _ExpertSpans(subject)

    @property
    def experts(self) -> list[tuple[Mark, Mark]]:
        """Start and end of each expert, in order."""
        return self._spans.experts

    @property
    def lookaheads(self) -> list[tuple[Mark, Mark]]:
        """Start and end of each application of a later gate, in order."""
        assert self._ahead is not None, "not within the context"
        return self._ahead.marks

    @property
    def cpu_seconds(self) -> list[float]:
        """The time of each expert that the CPU's workers have computed, in the order of their ends, since the beginning."""
        assert self._cpu_pool is not None, "not within the context"
        return [(end_ns - start_ns) / 1e9 for _, _, start_ns, end_ns in self._cpu_pool.services]

    def move_on(self, misses: Misses = NO_MISSES, *, looks_ahead: bool = False) -> None:
        """Have other experts in the next pass, with these misses."""
        assert self._ahead is not None, "not within the context"
        self._ahead.is_on = looks_ahead
        self._misses = misses
        self._miss.action = MissAction.FETCH if misses.are_fetched else MissAction.CPU
        if self._narrowed is not None:
            self._narrowed = self._narrow(self._narrowed)  # most likely for as many tokens as before

    def begin(self) -> None:
        """Begin a forward pass."""
        assert self._executor is not None, "not within the context"
        self._executor.begin(None)

    def narrowed(self, ids_NK: Tensor) -> Tensor:
        """Return ids of as many tokens and ranks, distinct in each row, of this pass's experts."""
        if self._narrowed is None or self._narrowed.shape != ids_NK.shape:
            self._narrowed = self._narrow(ids_NK)
        return self._narrowed

    def _narrow(self, like_NK: Tensor) -> Tensor:
        num_tokens, top_k = like_NK.shape
        count = min(self._num_at_once, num_tokens + top_k - 1)
        picked = torch.tensor(self._pick(count))
        return picked[(torch.arange(num_tokens)[:, None] + torch.arange(top_k)[None, :]) % count].to(like_NK)

    def _pick(self, count: int) -> list[int]:
        if self._misses.are_fetched:
            return self._rotation.misses(count)
        on_cpu = self._rotation.passed_over(min(count, self._misses.on_cpu))
        return [*self._rotation.hits(count - len(on_cpu)), *on_cpu]

    def visit(self, layer: int, hidden_NH: Tensor, ids_NK: Tensor, weights_NK: Tensor) -> Tensor:
        """Run the experts of one layer, in the executor."""
        assert self._executor is not None, "not within the context"
        return self._executor.visit(layer, hidden_NH, ids_NK, weights_NK)

    def __enter__(self) -> Self:
        offloaded, device = self._subject.offloaded, self._subject.device
        num_banks = offloaded.host.num_banks
        view = live_view(offloaded)
        self._ahead = _LooksAhead(view, device)
        cache = lay_out_cache(
            view=view,
            make_eviction=lambda: EVICTION["lru"](view),
            placement=_FirstExperts(offloaded.num_experts),
            split=SLOTS["equal"](view),
            size=CacheSize(experts=self._num_slots * num_banks),
            scope="per_layer",
            held=view.held_keys,
        )
        link = self._resources.enter_context(CopyLink(device, throttle=self._throttle))
        self._cpu_pool = cpu_pool = self._resources.enter_context(CpuPool(self._subject.cpu_workers, 1))
        slots = Slots(device, offloaded.host, num_slots=self._num_slots * num_banks)
        channel = SlotChannel(cache=cache, slots=slots, host=offloaded.host, link=link)
        channel.fill()
        self.dispatch = dispatch = Dispatch(
            view=view,
            cache=cache,
            channel=channel,
            policies=Policies(miss=self._miss, prefetch=self._ahead if self._has_misses else None),
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
        self._executor = self._cpu_pool = None
        self._resources.close()


class _AsAsked:
    """Do the same with all misses: `simulator.miss.Miss`."""

    def __init__(self) -> None:
        self.action = MissAction.FETCH

    def decide(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[MissAction]:
        """Do what is to be done in this pass."""
        del num_tokens
        return [self.action] * len(keys)


class _LooksAhead:
    """Apply the next layer's gate after each one, when that is on, and prefetch nothing: `simulator.prefetch.Prefetch`."""

    def __init__(self, view: RunView, device: Device) -> None:
        self.is_on = False
        self.marks: list[tuple[Mark, Mark]] = []
        self._view = view
        self._device = device

    def at_step_start(self) -> Sequence[int]:
        """Name nothing."""
        return ()

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Ask the gate that follows, if any does, and name nothing."""
        del keys
        if self.is_on and self._view.layer + 1 < self._view.num_layers:
            start = self._device.mark()
            self._view.lookahead(1)
            self.marks.append((start, self._device.mark()))
        return ()

    def at_layer_end(self) -> Sequence[int]:
        """Name nothing."""
        return ()


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


class _FirstExperts:
    """Have the first experts of each bank resident, the very first used longest ago: `simulator.placement.Placement`."""

    def __init__(self, num_experts: int) -> None:
        self._num_experts = num_experts

    def place(self, room: Room) -> Residents:
        """Fill each bank."""
        assert room.of_bank is not None
        warm = [bank * self._num_experts + expert for bank, slots in enumerate(room.of_bank) for expert in range(slots)]
        return Residents(warm=warm)
