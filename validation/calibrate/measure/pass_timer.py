"""Where the time of a forward pass goes: marks around each decoder layer and each visit of experts.

    |- prelude -|- layer 0 -----------------------------|- layer 1 ... -|- norm, head, sampling -|
                |- attention, gate -|- visit -|- after -|

A layer's own time is what is not its visit, up to the start of the next layer: what the loop over the layers spends
grows with their number. The step's own time is what is in no layer. A visit is the executor's own, with
its policies and its bookkeeping: what it spends beside its experts (reading ids, sorting tokens, deciding, adding up) is
the visit's overhead.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from types import TracebackType
from typing import Self

from torch import Tensor, nn

from validation.calibrate.measure.narrow_visits import NO_MISSES, Misses, NarrowVisits
from validation.calibrate.subject import Subject
from validation.runtime.device import Mark


class PassTimer:
    """Time forward passes over the experts that `visits` has. A context manager, with hooks within."""

    def __init__(self, subject: Subject, visits: NarrowVisits) -> None:
        self._subject = subject
        self._layers = decoder_layers(subject.offloaded.model, subject.offloaded.layers[0].name)
        places = [_index_in(layer.name) for layer in subject.offloaded.layers]
        self._visit_of_layer = {place: visit for visit, place in enumerate(places)}
        self._bounds: list[Mark] = []  # the start of each layer, then the end of the last
        self._visits: list[tuple[Mark, Mark]] = []
        self._first_expert: list[int] = []  # of each visit, among the executor's
        self._visits_to_run = visits
        self._executed: NarrowVisits | None = None
        self._resources = ExitStack()

    def time(
        self, run: Callable[[], object], misses: Misses = NO_MISSES, *, looks_ahead: bool = False
    ) -> Mapping[str, float]:
        """Run one forward pass, with these misses, and return seconds by part.

        `layer` and `visit_overhead` are means over MoE layers, `dense_layer` over the others, if there are any, `expert`
        over all experts of all layers that the device computed, 0 if there are none; `step` is what is in no layer, `pass`
        the whole. If the pass `looks_ahead`, each layer but the last applies the next one's gate, which `lookahead` is the
        mean of.
        """
        device, executed = self._subject.device, self._executed
        assert executed is not None, "not within the context"
        for marks in (
            self._bounds,
            self._visits,
            self._first_expert,
            executed.experts,
            executed.lookaheads,
        ):
            marks.clear()
        executed.move_on(misses, looks_ahead=looks_ahead)
        device.synchronize()
        began = device.mark()
        executed.begin()
        run()
        ended = device.mark()
        device.synchronize()
        time_s = partial(_seconds_between, device.time_ns)
        layers = [time_s(start, end) for start, end in pairwise(self._bounds)]
        visits = [time_s(start, end) for start, end in self._visits]
        marks = executed.experts
        stops = [*self._first_expert[1:], len(marks)]
        experts = [
            [time_s(start, end) for start, end in marks[first:stop]]
            for first, stop in zip(self._first_expert, stops, strict=True)
        ]
        moe = [layers[place] - visits[visit] for place, visit in self._visit_of_layer.items()]
        dense = [seconds for place, seconds in enumerate(layers) if place not in self._visit_of_layer]
        overhead = [visit - sum(each) for visit, each in zip(visits, experts, strict=True)]
        lookaheads = [time_s(start, end) for start, end in executed.lookaheads]
        num_experts = sum(map(len, experts))
        whole = time_s(began, ended)
        parts = {
            "layer": sum(moe) / len(moe),
            "step": whole - sum(layers),
            "visit_overhead": sum(overhead) / len(overhead),
            "expert": sum(map(sum, experts)) / max(1, num_experts),
            "pass": whole,
        }
        if dense:
            parts["dense_layer"] = sum(dense) / len(dense)
        if lookaheads:
            parts["lookahead"] = sum(lookaheads) / len(lookaheads)
        return parts

    def __enter__(self) -> Self:
        self._executed = self._resources.enter_context(self._visits_to_run)
        self._subject.offloaded.visit = self._visit
        for layer in self._layers:
            self._resources.callback(layer.register_forward_pre_hook(self._mark_bound).remove)
        self._resources.callback(self._layers[-1].register_forward_hook(self._mark_bound).remove)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._subject.offloaded.visit = None
        self._executed = None
        self._resources.close()

    def _mark_bound(self, *_: object) -> None:
        self._bounds.append(self._subject.device.mark())

    def _visit(self, layer: int, hidden_NH: Tensor, ids_NK: Tensor, weights_NK: Tensor) -> Tensor:
        executed = self._executed
        assert executed is not None
        ids_NK = executed.narrowed(ids_NK)
        self._first_expert.append(len(executed.experts))
        start = self._subject.device.mark()
        result = executed.visit(layer, hidden_NH, ids_NK, weights_NK)
        self._visits.append((start, self._subject.device.mark()))
        return result


def decoder_layers(model: nn.Module, moe_name: str) -> list[nn.Module]:
    """Return all decoder layers of a model, one of whose MoE blocks is called `moe_name` (`model.layers.3.mlp.experts`)."""
    parts = moe_name.split(".")
    return list(model.get_submodule(".".join(parts[: _number_at(parts)])).children())


def _index_in(moe_name: str) -> int:
    parts = moe_name.split(".")
    return int(parts[_number_at(parts)])


def _number_at(parts: list[str]) -> int:
    return next(index for index, part in enumerate(parts) if part.isdigit())


def _seconds_between(time_ns: Callable[[Mark], int], start: Mark, end: Mark) -> float:
    return max(0, time_ns(end) - time_ns(start)) / 1e9
