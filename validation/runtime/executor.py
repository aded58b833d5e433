"""The torch runtime: run each MoE layer as the policies say, in real time.

What is decided, counted and kept is `simulator.dispatch.Dispatch`, the same object that the simulated engine drives. This
carries it out: experts that are resident are computed first, the others as they arrive over the copy link or come back
from the CPU's workers (or all in the order that a policy fixes). The output does not depend on the order of arrival.

A pick that a policy drops contributes nothing, and the weights of a token's other picks stay as they are: not renormalised.
A substitute is applied with the weight of the pick for which it stands. What is deferred is computed from its own layer's
states, weighted, and added to the output of the next MoE layer's experts. What the CPU begins early is computed from the
states of the layer before, for all tokens of the step, since nobody knows yet which of them the gate will send there.

Limits: experts are whole, without tiles, and are read from slots alone: not in place. With a model's own routing, picks are
put in the order of their weights where a policy reads weights; else they stay in the order in which the gate gives them.

Legend: N tokens of a forward pass, K top-k, H hidden width.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from hardware_profiles.errors import InputError
from simulator.dispatch import Dispatch
from simulator.metrics.counters import Counters
from simulator.miss.protocol import DROPPED
from simulator.run_view import LiveGate, RunView
from simulator.workload.step import Step, distinct
from validation.runtime.cpu_pool import Computed
from validation.runtime.device import Device
from validation.runtime.gates import picks_by_weight
from validation.runtime.kernel import compute_expert
from validation.runtime.offload import OffloadedModel
from validation.runtime.output import LayerOutput
from validation.runtime.recording import Cause, Recording, Wait
from validation.runtime.serving import Link, Workers
from validation.runtime.slots import Low, Slots, SlotsOf
from validation.runtime.write_back import WriteBack

_MOST_UNRESOLVED_SPANS = 1 << 14
READ_IN_PLACE = (
    "torch computes from device memory alone, so missing experts cannot be read where they lie in host memory"
)
StepEnded = Callable[[Step, int], None]


@dataclass(slots=True, kw_only=True)
class _OnCpu:
    """What the CPU's workers have in hand for a layer's output: keys by job.

    `early` are those of it that were begun a layer before, from that layer's states.
    """

    output: LayerOutput
    jobs: dict[int, int] = field(default_factory=dict)
    early: set[int] = field(default_factory=set)


class Executor:
    """Drive an offloaded model's experts through the steps of one run.

    Between `begin(step)` and `end(step)`, one forward pass of the model with the step's tokens, in their order; its MoE
    layers call `visit`. With `forced`, the experts are those of the step whatever the model's gates say, with the gates'
    weights; otherwise the gates' own picks count, and `num_other_picks` says how often these differed from the step's. A
    pass whose tokens nobody knows beforehand begins with `begin(None)`.

    With `holds_link`, prefetches that wait do not begin while a gate is decided: for policies that call some off.
    """

    def __init__(
        self,
        offloaded: OffloadedModel,
        device: Device,
        *,
        dispatch: Dispatch,
        view: RunView,
        slots: Slots,
        link: Link,
        cpu_pool: Workers,
        recording: Recording,
        forced: bool,
        observed: bool,
        low: Low | None = None,
        write_back: WriteBack | None = None,
        holds_link: bool = False,
    ) -> None:
        self._offloaded = offloaded
        self._device = device
        self._dispatch = dispatch
        self._view = view
        self._slots = slots
        self._link = link
        self._cpu_pool = cpu_pool
        self._recording = recording
        self._forced = forced
        self._observed = observed
        self._low = low
        self._write_back = write_back
        self._num_keys = view.num_keys
        self._modules = [offloaded.expert_module(layer) for layer in range(offloaded.num_layers)]
        self._first_keys = [bank * offloaded.num_experts for bank in offloaded.bank_of_layer]
        self._step: Step | None = None
        self._free_since = device.mark()  # when the compute stream last came free
        self._waits: list[Wait] = []
        self._link_busy_in_pauses_ns = 0
        self._while_deciding: Callable[[], AbstractContextManager[None]] = link.held if holds_link else nullcontext
        self._early: dict[int, int] = {}  # jobs by the key of the next layer that the CPU has begun
        self._deferred: _OnCpu | None = None  # what the layer before has left to this one
        self._layer_of_job: dict[int, int] = {}  # of those whose end has not been noted
        self._abandoned: set[int] = set()  # jobs of which nobody wants the result
        self.num_other_picks = 0
        self.cpu_experts: list[tuple[int, int, int, int, int]] = []  # (layer, key, worker, start_ns, end_ns)

    def begin(self, step: Step | None) -> None:
        """Begin a step."""
        self._step = self._view.step = step
        self._give_up_begun()
        if self._observed and step is not None:
            self._recording.step_started(step)
        self._deliver()
        self._dispatch.step_started()
        self._free_since = self._device.mark()

    def end(self, step: Step) -> None:
        """End a step, whose tokens have been read back."""
        assert step is self._step
        counters = self._dispatch.counters
        self._recording.span("tail", -1, -1, self._free_since, self._device.mark())
        counters.steps += 1
        counters.routed_tokens += len(step.tokens)
        counters.output_tokens += len(step.emits)
        if step.is_prefill:
            counters.prefill_tokens += len(step.tokens)
        else:
            counters.decode_steps += 1
        if self._recording.num_unresolved() > _MOST_UNRESOLVED_SPANS:
            with self.paused():
                self._recording.resolve(counters)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let no time of the run pass within the context, which lies between two steps and is not entered within itself."""
        busy_ns = self._link.busy_ns()
        with self._recording.paused(), self._link.paused():
            yield
        self._link_busy_in_pauses_ns += self._link.busy_ns() - busy_ns

    def snapshot(self) -> Counters:
        """Return the counts up to now; not within a pause."""
        counters = self._dispatch.counters
        with self.paused():
            self._recording.resolve(counters)
        self._take_abandoned()
        counters.now_ns = self._recording.now_ns()
        counters.link_busy_ns = self._link.busy_ns() - self._link_busy_in_pauses_ns
        counters.cpu_busy_ns = sum(end_ns - start_ns for *_, start_ns, end_ns in self.cpu_experts)
        if self._write_back is not None:
            counters.write_back_busy_ns = self._write_back.busy_ns
        return counters.copy()

    def outcomes(self) -> tuple[int, int, int]:
        """Return hits, late hits and misses up to now."""
        return self._dispatch.counters.outcomes()

    def visit(self, layer: int, hidden_NH: Tensor, ids_NK: Tensor, weights_NK: Tensor) -> Tensor:
        """Run the experts of one layer: `validation.runtime.offload.Visit`. Raises InputError for a read in place."""
        device, dispatch = self._device, self._dispatch
        self._recording.span("lead", layer, -1, self._free_since, device.mark())
        first_key = self._first_keys[layer]
        picks, ids_NK, weights_NK = self._picks(layer, hidden_NH, ids_NK, weights_NK)
        self._deliver()
        rerouted = dispatch.reroute(layer) if dispatch.reroutes else None
        if rerouted is not None:
            picks = rerouted
        keys, tokens_of = _distinct(picks)
        if dispatch.whole_layers:
            keys, tokens_of = dispatch.whole_layer(layer, keys, tokens_of)
        host_ids = [[key - first_key if key != DROPPED else -1 for key in row] for row in picks]
        output = LayerOutput(hidden_NH, ids_NK, weights_NK, host_ids_NK=host_ids)
        self._waits.clear()
        with self._while_deciding():
            ready, left, waiting, on_cpu = dispatch.gate(layer, keys, tokens_of)
        if dispatch.in_place:
            raise InputError("miss", READ_IN_PLACE)
        belated, self._deferred = self._deferred, None
        begun = None
        if on_cpu or dispatch.deferred or dispatch.early or self._early:
            begun = self._begin_on_cpu(layer, on_cpu, output, hidden_NH)
        if dispatch.in_turn:
            self._compute_in_turn(layer, ready, waiting, output)
        else:
            self._compute_as_they_come(layer, ready, left, waiting, output)
        belated_NH = self._join_cpu(layer, begun, belated) if begun is not None or belated is not None else None
        dispatch.computed(keys)
        result = output.result()
        if belated_NH is not None:
            result = result + belated_NH
        self._deliver()
        dispatch.layer_ended()
        self._free_since = device.mark()
        return result

    def _picks(
        self, layer: int, hidden_NH: Tensor, ids_NK: Tensor, weights_NK: Tensor
    ) -> tuple[Sequence[Sequence[int]], Tensor, Tensor]:
        """Return the keys that the tokens are routed to, [n][K], with ids and weights whose columns are theirs.

        With the model's own routing, let the view know what the gates say.
        """
        step, view = self._step, self._view
        first_key = self._first_keys[layer]
        if self._forced:
            assert step is not None, "forced routing needs a step"
            ids_NK.tolist()  # a real runtime has to read them as well
            view.applies_ahead = partial(self._picks_ahead, layer, hidden_NH)  # and to ask the gates ahead
            return [token[layer] for token in step.tokens], ids_NK, weights_NK
        weights: Sequence[Sequence[float]] = ()
        if view.needs_gate_weights:
            order_NK = weights_NK.argsort(dim=-1, descending=True, stable=True)
            ids_NK, weights_NK = ids_NK.gather(-1, order_NK), weights_NK.gather(-1, order_NK)
            weights = weights_NK.tolist()
        picks = [[first_key + pick for pick in row] for row in ids_NK.tolist()]
        view.live = LiveGate(picks=picks, weights=weights, ahead=partial(self._picks_ahead, layer, hidden_NH))
        if step is not None:
            self._compare(step, picks, layer)
        return picks, ids_NK, weights_NK

    def _compute_as_they_come(
        self, layer: int, ready: Sequence[int], left: int, waiting: deque[int], output: LayerOutput
    ) -> None:
        """Compute the experts that are resident, then the others in the order in which they arrive."""
        dispatch = self._dispatch
        for key in ready:
            self._compute(layer, key, output)
            if waiting:
                self._give_up_slot(key, waiting)
        while left:
            self._wait_for_arrival(waiting, left)
            key = dispatch.arrived.popleft()
            self._compute(layer, key, output)
            left -= 1
            if waiting:
                self._give_up_slot(key, waiting)

    def _compute_in_turn(self, layer: int, ready: Sequence[int], waiting: deque[int], output: LayerOutput) -> None:
        """Compute each expert in its turn, whichever are there before. Those that wait for a slot let others go first."""
        dispatch = self._dispatch
        there, left = set(ready), list(dispatch.turns)
        while left:
            while (key := next((one for one in left if one not in waiting), None)) not in there:
                self._wait_for_arrival(waiting, len(left))
                there.update(dispatch.arrived)
                dispatch.arrived.clear()
            assert key is not None
            left.remove(key)
            self._compute(layer, key, output)
            if waiting:
                self._give_up_slot(key, waiting)

    def _compute(self, layer: int, key: int, output: LayerOutput) -> None:
        """Put one expert that has a slot on the stream; a low-precision copy is dequantised as part of it."""
        device, expert_id = self._device, key % self._num_keys - self._first_keys[layer]
        if not output.has(expert_id):
            return  # fetched with the whole layer, and used by no token
        slots: SlotsOf[Mapping[str, Tensor]] | SlotsOf[Mapping[str, object]]
        start = device.mark()
        if key < self._num_keys:
            slots, tensors = self._slots, self._slots.tensors(key)
        else:
            assert self._low is not None, "there are no low-precision copies"
            slots, tensors = self._low.slots, self._low.dequantised(key)
        output.add(expert_id, partial(compute_expert, self._modules[layer], tensors))
        end = device.mark()
        slots.used(key, end)
        self._recording.span("expert", layer, key, start, end, tuple(self._waits))
        self._waits.clear()

    def _wait_for_arrival(self, waiting: deque[int], left: int) -> None:
        """Wait until an expert of this layer has arrived; the same rules as in the simulated engine."""
        dispatch, device = self._dispatch, self._device
        self._deliver()
        while not dispatch.arrived:
            if len(waiting) == left:
                dispatch.fetch_waiting(waiting)
            since_ns = device.now_ns()
            transfers = self._link.wait()
            until_ns = device.now_ns()
            for transfer in transfers:
                dispatch.deliver(transfer)
            cause: Cause = "behind"
            if transfers[-1].is_demanded:
                cause = "late" if transfers[-1].is_prefetch else "demand"
            self._waits.append(Wait(cause, transfers[-1], since_ns, until_ns))
            if len(waiting) == left:  # nothing of this layer is on its way: what arrived may make room for it
                dispatch.fetch_waiting(waiting)

    def _deliver(self) -> None:
        """Take over what the link has brought since it was last asked."""
        for transfer in self._link.completed():
            self._dispatch.deliver(transfer)

    def _give_up_slot(self, computed: int, waiting: deque[int]) -> None:
        """Unpin an expert that has been computed, and fetch what waits for a slot."""
        self._deliver()
        self._dispatch.unpin([computed])
        self._dispatch.fetch_waiting(waiting)

    def _begin_on_cpu(self, layer: int, keys: Sequence[int], output: LayerOutput, hidden_NH: Tensor) -> _OnCpu:
        """Give experts to the CPU's workers, in order: these, the deferred, the early; return the first."""
        dispatch, first_key = self._dispatch, self._first_keys[layer]
        early, self._early = self._early, {}
        begun = _OnCpu(output=output)
        for key in keys:
            job = early.pop(key, None)
            if job is None:
                job = self._submit(layer, key, output.rows(key - first_key).to("cpu"))
            else:
                begun.early.add(job)
            begun.jobs[job] = key
        self._abandoned.update(early.values())
        if dispatch.deferred:
            deferred = self._deferred = _OnCpu(output=output)
            for key in dispatch.deferred:
                rows = output.rows(key - first_key).to("cpu", copy=True)
                deferred.jobs[self._submit(layer, key, rows)] = key
        if dispatch.early:
            states_NH = hidden_NH.to("cpu", copy=True)
            self._early = {key: self._submit(layer + 1, key, states_NH) for key in dispatch.early}
        return begun

    def _submit(self, layer: int, key: int, rows: Tensor) -> int:
        tensors = self._offloaded.host.tensors(key)
        job = self._cpu_pool.submit(key, partial(compute_expert, self._modules[layer], tensors, rows))
        self._layer_of_job[job] = layer
        return job

    def _join_cpu(self, layer: int, begun: _OnCpu | None, belated: _OnCpu | None) -> Tensor | None:
        """Wait for what the CPU computes for this layer, and for what the layer before deferred; take in the first.

        Return what the second adds to this layer's output.
        """
        device = self._device
        wanted = {**(begun.jobs if begun is not None else {}), **(belated.jobs if belated is not None else {})}
        made: dict[int, Tensor] = {}
        if wanted:
            since_ns = device.now_ns()
            done = self._cpu_pool.join(wanted)
            self._waits.append(Wait("cpu", None, since_ns, device.now_ns()))
            for job in done:
                made[job.job] = job.result.to(device.torch_device)
                self._note_computed(job)
        start = device.mark()
        if begun is not None:
            output, first_key = begun.output, self._first_keys[layer]
            for job_number, key in begun.jobs.items():
                result = made[job_number]
                if job_number in begun.early:
                    result = output.rows_of(key - first_key, result)
                output.put(key - first_key, result)
        belated_NH = None
        if belated is not None:
            first_key = self._first_keys[layer - 1]
            belated_NH = belated.output.belated(
                {key - first_key: made[job_number] for job_number, key in belated.jobs.items()}
            )
        self._recording.span("join", layer, -1, start, start, tuple(self._waits))
        self._waits.clear()
        self._take_abandoned()
        return belated_NH

    def _note_computed(self, job: Computed) -> None:
        self.cpu_experts.append((self._layer_of_job.pop(job.job), job.key, job.worker, job.start_ns, job.end_ns))

    def _take_abandoned(self) -> None:
        """Note the work that was done in vain, as far as it has ended."""
        if self._abandoned:
            for job in self._cpu_pool.ended(self._abandoned):
                self._abandoned.discard(job.job)
                self._note_computed(job)

    def _give_up_begun(self) -> None:
        """Forget what a pass that did not come to its end has left behind."""
        self._abandoned.update(self._early.values())
        self._early = {}
        if self._deferred is not None:
            self._abandoned.update(self._deferred.jobs)
            self._deferred = None

    def _picks_ahead(self, layer: int, hidden_NH: Tensor, distance: int) -> Sequence[Sequence[int]]:
        """Return what a gate further on picks from the current state."""
        first_key = self._first_keys[layer + distance]
        picks = picks_by_weight(self._offloaded.layers[layer + distance], hidden_NH)
        return [[first_key + pick for pick in row] for row in picks]

    def _compare(self, step: Step, picks: Sequence[Sequence[int]], layer: int) -> None:
        """Count the tokens whose picks are not those of the step."""
        for row, token in zip(picks, step.tokens, strict=True):
            self.num_other_picks += set(row) != set(token[layer])


def _distinct(picks: Sequence[Sequence[int]]) -> tuple[Sequence[int], Mapping[int, int] | None]:
    """Return the distinct keys of a visit in order of first appearance, and how many tokens each has; None for one each."""
    if len(picks) == 1:
        return [key for key in picks[0] if key != DROPPED], None
    keys, num_tokens = distinct([[key for key in row if key != DROPPED] for row in picks])
    return keys, dict(zip(keys, num_tokens, strict=True))
