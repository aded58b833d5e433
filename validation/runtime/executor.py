"""The torch runtime: run each MoE layer as the policies say, in real time.

What is decided, counted and kept is `simulator.dispatch.Dispatch`, the same object that the simulated engine drives. This
carries it out: experts that are resident are computed first, the others as they arrive over the copy link or come back
from the CPU's workers. The output does not depend on the order of arrival.

Legend: N tokens of a forward pass, K top-k, H hidden width.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from torch import Tensor

from simulator.dispatch import Dispatch
from simulator.metrics.counters import Counters
from simulator.run_view import RunView
from simulator.workload.step import Step, distinct_experts
from validation.runtime.cpu_pool import CpuPool
from validation.runtime.device import Device
from validation.runtime.gates import picks_by_weight
from validation.runtime.kernel import compute_expert
from validation.runtime.link import CopyLink
from validation.runtime.offload import OffloadedModel
from validation.runtime.output import LayerOutput
from validation.runtime.recording import Cause, Recording, Wait
from validation.runtime.slots import Slots

_MOST_UNRESOLVED_SPANS = 1 << 14
StepEnded = Callable[[Step, int], None]


class Executor:
    """Drive an offloaded model's experts through the steps of one run.

    Between `begin(step)` and `end(step)`, one forward pass of the model with the step's tokens, in their order; its MoE
    layers call `visit`. With `forced`, the experts are those of the step whatever the model's gates say, with the gates'
    weights; otherwise the gates' own picks count, and `num_other_picks` says how often these differed from the step's. A
    pass whose tokens nobody knows beforehand begins with `begin(None)`.
    """

    def __init__(
        self,
        offloaded: OffloadedModel,
        device: Device,
        *,
        dispatch: Dispatch,
        view: RunView,
        slots: Slots,
        link: CopyLink,
        cpu_pool: CpuPool,
        recording: Recording,
        forced: bool,
        observed: bool,
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
        self._num_experts = offloaded.num_experts
        self._modules = [offloaded.expert_module(layer) for layer in range(offloaded.num_layers)]
        self._step: Step | None = None
        self._free_since = device.mark()  # when the compute stream last came free
        self._waits: list[Wait] = []
        self._link_busy_in_pauses_ns = 0
        self.num_other_picks = 0
        self.cpu_experts: list[tuple[int, int, int, int, int]] = []  # (layer, key, worker, start_ns, end_ns)

    def begin(self, step: Step | None) -> None:
        """Begin a step."""
        self._step = step
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
        with self._recording.paused():
            yield
        self._link_busy_in_pauses_ns += self._link.busy_ns() - busy_ns

    def snapshot(self) -> Counters:
        """Return the counts up to now; not within a pause."""
        counters = self._dispatch.counters
        with self.paused():
            self._recording.resolve(counters)
        counters.now_ns = self._recording.now_ns()
        counters.link_busy_ns = self._link.busy_ns() - self._link_busy_in_pauses_ns
        counters.cpu_busy_ns = sum(end_ns - start_ns for *_, start_ns, end_ns in self.cpu_experts)
        return counters.copy()

    def visit(self, layer: int, hidden_NH: Tensor, ids_NK: Tensor, weights_NK: Tensor) -> Tensor:
        """Run the experts of one layer: `validation.runtime.offload.Visit`."""
        device, dispatch, step = self._device, self._dispatch, self._step
        self._recording.span("lead", layer, -1, self._free_since, device.mark())
        first_key = self._offloaded.bank_of_layer[layer] * self._num_experts
        picks = ids_NK.tolist()  # a real runtime has to read them as well
        if self._forced:
            assert step is not None, "forced routing needs a step"
            picks = [[key - first_key for key in token[layer]] for token in step.tokens]
            keys, num_tokens = distinct_experts(step.tokens, layer)
        else:
            if step is not None:
                self._compare(step, picks, first_key, layer)
            keys, num_tokens = distinct_experts([[[first_key + pick for pick in row]] for row in picks], 0)
        output = LayerOutput(hidden_NH, ids_NK, weights_NK, host_ids_NK=picks)
        tokens_of = None if num_tokens is None else dict(zip(keys, num_tokens, strict=True))
        if self._view.lookahead_layers:
            self._view.predict = partial(self._picks_ahead, layer, hidden_NH)
        self._deliver()
        self._waits.clear()
        hits, left, waiting, on_cpu = dispatch.gate(layer, keys, tokens_of)
        for key in on_cpu:
            self._start_on_cpu(layer, key, output.rows(key - first_key))
        for key in hits:
            self._compute(layer, key, output, first_key)
            if waiting:
                self._give_up_slot(key, waiting)
        while left:
            self._wait_for_arrival(waiting, left)
            key = dispatch.arrived.popleft()
            self._compute(layer, key, output, first_key)
            left -= 1
            if waiting:
                self._give_up_slot(key, waiting)
        if on_cpu:
            self._join_cpu(layer, len(on_cpu), output, first_key)
        dispatch.unpin([key for key in keys if key not in on_cpu] if on_cpu else keys)
        result = output.result()
        self._deliver()
        dispatch.layer_ended()
        self._free_since = device.mark()
        return result

    def _compute(self, layer: int, key: int, output: LayerOutput, first_key: int) -> None:
        """Put one resident expert on the stream."""
        device = self._device
        compute = partial(compute_expert, self._modules[layer], self._slots.tensors(key))
        start = device.mark()
        output.add(key - first_key, compute)
        end = device.mark()
        self._slots.used(key, end)
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

    def _start_on_cpu(self, layer: int, key: int, rows: Tensor) -> None:
        """Give an expert to the CPU's workers, with its tokens in host memory."""
        tensors = self._offloaded.host.tensors(key)
        self._cpu_pool.submit(key, partial(compute_expert, self._modules[layer], tensors, rows.to("cpu")))

    def _join_cpu(self, layer: int, num_left: int, output: LayerOutput, first_key: int) -> None:
        """Wait for the CPU's workers, and take in what they have made."""
        device = self._device
        start = device.mark()
        while num_left:
            since_ns = device.now_ns()
            done = self._cpu_pool.wait()
            self._waits.append(Wait("cpu", None, since_ns, device.now_ns()))
            for job in done:
                output.put(job.key - first_key, job.result.to(device.torch_device))
                self.cpu_experts.append((layer, job.key, job.worker, job.start_ns, job.end_ns))
            num_left -= len(done)
            start = device.mark()
        self._recording.span("join", layer, -1, start, start, tuple(self._waits))
        self._waits.clear()

    def _picks_ahead(self, layer: int, hidden_NH: Tensor, distance: int) -> Sequence[Sequence[int]]:
        """Return what a gate further on picks: as recorded where the routing is forced, else by applying it now."""
        if not self._forced:
            ahead = layer + distance
            first_key = self._offloaded.bank_of_layer[ahead] * self._num_experts
            picks = picks_by_weight(self._offloaded.layers[ahead], hidden_NH)
            return [[first_key + pick for pick in row] for row in picks]
        assert self._step is not None
        assert self._step.lookahead is not None
        return [token[layer][distance - 1] for token in self._step.lookahead]

    def _compare(self, step: Step, picks: Sequence[Sequence[int]], first_key: int, layer: int) -> None:
        """Count the tokens whose picks are not those of the step."""
        for row, token in zip(picks, step.tokens, strict=True):
            self.num_other_picks += {first_key + pick for pick in row} != set(token[layer])
