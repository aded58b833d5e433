"""What becomes of requests: when their tokens come out, and the latencies that follow."""

from collections.abc import Callable

from simulator.metrics.counters import Counters
from simulator.metrics.distribution import Distribution
from simulator.workload.request import Request
from simulator.workload.step import Step


class Collector:
    """Follow a run step by step. The first `warmup_steps` steps leave no trace in the metrics.

    Latencies, over what comes out after the warm-up: TTFT, from a request's place in the batch to its first output token;
    ITL, between output tokens of a request; TPOT, a request's mean ITL; E2E, from its place in the batch to its last token.
    """

    def __init__(self, *, warmup_steps: int, snapshot: Callable[[], Counters]) -> None:
        self.requests: list[Request] = []
        self.ttft, self.itl, self.tpot, self.e2e = Distribution(), Distribution(), Distribution(), Distribution()
        self.at_warmup: Counters | None = None
        self._warmup_steps = warmup_steps
        self._snapshot = snapshot
        self._num_steps = 0
        self._last_step_ns = 0
        self._active: dict[int, Request] = {}

    def step_ended(self, step: Step, now_ns: int) -> None:
        """Note the tokens of a step that ends now."""
        for request in step.joins:
            request.started_ns = self._last_step_ns
            self.requests.append(request)
            self._active[request.index] = request
        measuring = self._num_steps >= self._warmup_steps
        for request in step.emits:
            if request.first_token_ns < 0:
                request.first_token_ns = now_ns
                if measuring:
                    self.ttft.add(now_ns - request.started_ns)
            request.output_tokens += 1
            if measuring:
                if request.measured_tokens:
                    self.itl.add(now_ns - request.last_token_ns)
                else:
                    request.measured_from_ns = now_ns
                request.measured_tokens += 1
            request.last_token_ns = now_ns
        for request in step.ends:
            request.finished = True
            del self._active[request.index]
            if measuring:
                self.e2e.add(now_ns - request.started_ns)
                self._count_tpot(request)
        self._num_steps += 1
        self._last_step_ns = now_ns
        if self._num_steps == self._warmup_steps:
            self.at_warmup = self._snapshot()

    def close(self) -> None:
        """Count what unfinished requests have put out."""
        for request in self._active.values():
            self._count_tpot(request)
        self._active.clear()

    @property
    def num_steps(self) -> int:
        """Steps so far."""
        return self._num_steps

    def _count_tpot(self, request: Request) -> None:
        if request.measured_tokens > 1:
            elapsed_ns = request.last_token_ns - request.measured_from_ns
            self.tpot.add(round(elapsed_ns / (request.measured_tokens - 1)))
