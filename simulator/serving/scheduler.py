"""The scheduler of a service: at each step's end, who takes part in the next.

    arrivals join the queue, which is in order of priority, then of arrival
    the policy says how many tokens of prompts the next step may hold, and whether beside tokens that decode
    prompts      those begun go on, then the head of the queue is let in while there is a place and room for its KV cache
    decode       all that decode; each that fills its last page needs another, and where there is no room the last of
                 those that run, by priority and arrival, gives up its place (and so on, until it is itself the last)
    preempted    recompute: back to the queue, to run its prompt and what it has put out as a new prompt
                 swap: its KV cache is copied to the host before the step; it comes back, before anybody new, when there is
                 room again

A request has KV cache for all of its prompt from when it is let in. One that could not be served by itself is refused.

Source: iteration-level scheduling, Orca, OSDI 2022, section 4; paging, preemption, all or nothing and first come first
served, vLLM, arXiv 2309.06180, section 4.5; swapping before a step's first layer, vLLM 0.x (`Worker.execute_worker`).

Limits: no prefix is shared; a request that is swapped out lies in host memory that is taken to be there; decisions take
no time.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hardware_profiles.errors import InputError
from simulator.serving.cohort import Cohort
from simulator.serving.intake import Requests
from simulator.serving.kv_pages import KvPages
from simulator.serving.limits import Limits
from simulator.serving.memory import KvMemory
from simulator.serving.record import Record
from simulator.serving.scheduling.protocol import Scheduling
from simulator.serving.served import NO_ROWS, Served
from simulator.serving.stop import Stop
from simulator.workload.contexts import Contexts
from simulator.workload.routing import Routing, Rows
from simulator.workload.step import KvCopies, Step, Wait

Chunk = tuple[Served, int]
"""A request and how many tokens of its prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sees:
    """What policies of the run want to see of the tokens: gate weights, and gates so many layers ahead."""

    gate_weights: bool = False
    lookahead_layers: int = 0


class Scheduler:
    """Yield steps for as long as there is something to do; hear from the engine when each ends.

    `steps` raises InputError where requests wait that no memory can be found for.
    """

    def __init__(
        self,
        *,
        requests: Requests,
        scheduling: Scheduling,
        limits: Limits,
        pages: KvPages,
        memory: KvMemory,
        routing: Routing,
        record: Record,
        stop: Stop,
        sees: Sees,
    ) -> None:
        self._requests = requests
        self._scheduling = scheduling
        self._limits = limits
        self._pages = pages
        self._memory = memory
        self._routing = routing
        self._record = record
        self._stop = stop
        stop.watch(record)
        self._sees = sees
        self._now_ns = 0
        self._queue: list[tuple[tuple[int, int, int], Served]] = []
        self._swapped: list[Served] = []
        self._prefilling: list[Served] = []
        self._cohort = Cohort()
        self._has_preempted = False
        self._decodes = False  # of the step under way, with `_chunks`
        self._chunks: Sequence[Chunk] = ()
        self._out_bytes = 0  # KV cache to be copied before the next step, with `_in_bytes`
        self._in_bytes = 0

    def steps(self) -> Iterator[Step | Wait]:
        """Yield the steps of the run, each made when the one before has ended."""
        stop, record, requests = self._stop, self._record, self._requests
        while not stop.is_reached(self._now_ns):
            self._take_arrivals()
            self._memory.give_slots_back()
            step = self._next()
            if step is not None:
                yield step
                continue
            if self._queue or self._swapped:  # the first of them would fit if slots were given up that are not
                raise InputError(
                    "scheduler",
                    "memory: dynamic finds no expert slot that can be given up; use another eviction policy, or fixed",
                )
            wait = requests.wait()
            if wait is None:
                return
            latest_ns = stop.bounds.time_ns
            if latest_ns is not None and (wait.until_ns is None or wait.until_ns > latest_ns):
                wait = Wait(until_ns=latest_ns)
            yield wait
            now_ns = requests.waited(wait)
            record.idled(self._now_ns, now_ns)
            self._now_ns = now_ns

    def step_ended(self, step: Step, now_ns: int) -> None:
        """Note that the tokens of the step under way are out."""
        del step
        record, cohort = self._record, self._cohort
        record.stepped(self._now_ns, now_ns, queued=self.num_queued(), running=self.num_running())
        if self._decodes:
            ended = cohort.step()
            record.decoded(now_ns, len(cohort))
            for request in ended:
                cohort.leave(request)
                record.left_cohort(request, now_ns)
                self._finish(request, now_ns)
        for request, num_tokens in self._chunks:
            request.position += num_tokens
            record.prefilled(request)
            if request.position == request.prefill_until:
                self._prefilling.remove(request)
                record.first_token(request, now_ns)
                if request.position == request.total_tokens:
                    self._finish(request, now_ns)
                else:
                    self._join_cohort(request)
        self._now_ns = now_ns

    def in_system(self) -> int:
        """Count the requests that have arrived and are neither answered nor refused."""
        return self.num_queued() + self.num_running()

    def num_queued(self) -> int:
        """Count the requests that wait for a place, or to get theirs back."""
        return len(self._queue) + len(self._swapped)

    def num_running(self) -> int:
        """Count the requests that have a place."""
        return len(self._cohort) + len(self._prefilling)

    def prompt_tokens_left(self) -> int:
        """Count the tokens that have yet to be run before each request puts out its next, as of the latest step's end."""
        waiting = (*(request for _, request in self._queue), *self._swapped, *self._prefilling)
        return sum(request.prefill_until - request.position for request in waiting)

    def tokens_left(self) -> int:
        """Count the tokens that have yet to go through the model, as of the latest step's end."""
        waiting = (*(request for _, request in self._queue), *self._swapped, *self._prefilling)
        left = sum(request.total_tokens - request.position for request in waiting)
        steps = self._cohort.num_steps
        return left + sum(request.total_tokens - request.offset - steps for request in self._cohort.requests)

    def stood_still(self, now_ns: int) -> None:
        """Note that there has been no step since the last one ended; the run ends now."""
        self._record.stepped(self._now_ns, now_ns, queued=self.num_queued(), running=self.num_running())
        self._now_ns = now_ns

    def _take_arrivals(self) -> None:
        """Put what has arrived by now in the queue, or refuse it."""
        requests, limits, record, now_ns = self._requests, self._limits, self._record, self._now_ns
        next_ns = requests.next_ns()
        while next_ns is not None and next_ns <= now_ns:
            request = requests.take()
            record.arrived(request, now_ns)
            if self._pages.bytes_of(request.total_tokens) > self._memory.most_bytes:
                self._refuse(request, "too_long")
            elif limits.waiting is not None and len(self._queue) >= limits.waiting:
                self._refuse(request, "queue_full")
            else:
                self._enqueue(request)
            next_ns = requests.next_ns()

    def _refuse(self, request: Served, reason: str) -> None:
        self._record.refused(request, reason, self._now_ns)
        self._requests.ended(request, self._now_ns)

    def _enqueue(self, request: Served) -> None:
        heapq.heappush(self._queue, (request.order, request))

    def _finish(self, request: Served, now_ns: int) -> None:
        self._memory.free(request.kv_bytes)
        request.rows, request.take_rows = NO_ROWS, _no_rows
        self._record.finished(request, now_ns)
        self._requests.ended(request, now_ns)

    def _next(self) -> Step | None:
        """Make the next step; None if there is nothing to do."""
        self._out_bytes = self._in_bytes = 0
        cohort, scheduling = self._cohort, self._scheduling
        if scheduling.mixes:
            self._decodes = self._ready_to_decode()
            budget = scheduling.prompt_tokens(len(cohort))
            self._chunks = self._prompts(budget, may_let_in=not self._has_preempted)
            self._decodes = self._decodes and len(cohort) > 0  # else all have been displaced
        else:
            self._chunks = self._prompts(scheduling.prompt_tokens(len(cohort)), may_let_in=True)
            self._decodes = not self._chunks and self._ready_to_decode()
            if not self._chunks and not self._decodes:  # all that decoded have been preempted, or prompts brought back
                self._chunks = self._prompts(scheduling.prompt_tokens(len(cohort)), may_let_in=True)
        if not self._decodes and not self._chunks:
            return None
        return self._step()

    def _ready_to_decode(self) -> bool:
        """Find room for the next token of all that decode, or preempt; tell whether any is left."""
        self._has_preempted = False
        cohort, memory, pages = self._cohort, self._memory, self._pages
        for request in cohort.growing():
            if request not in cohort.requests:
                continue  # preempted meanwhile
            kv_tokens = request.kv_tokens + pages.page_tokens
            num_bytes = pages.bytes_of(kv_tokens) - request.kv_bytes
            while not memory.take(num_bytes):
                last = self._last_running()
                self._preempt(last)
                if last is request:
                    break
            else:
                request.kv_bytes += num_bytes
                cohort.grow(request, kv_tokens)
        if not self._has_preempted:
            self._bring_back()
        return len(cohort) > 0

    def _bring_back(self) -> None:
        """Let requests that were swapped out decode again, while there is a place and room."""
        while self._swapped and self.num_running() < self._limits.batch:
            request = self._swapped[0]
            kv_tokens = self._pages.rounded_up(max(request.position + 1, request.prefill_until))
            num_bytes = self._pages.bytes_of(kv_tokens)
            if not self._has_room(num_bytes, self.num_running()) or not self._memory.take(num_bytes):
                return
            self._in_bytes += request.kv_bytes
            request.kv_tokens, request.kv_bytes = kv_tokens, num_bytes
            self._swapped.pop(0)
            self._record.begun(request, self._now_ns)
            if request.position < request.prefill_until:
                self._prefilling.append(request)
            else:
                self._join_cohort(request)

    def _join_cohort(self, request: Served) -> None:
        self._cohort.join(request)
        self._record.joined_cohort(request)

    def _has_room(self, num_bytes: int, num_running: int) -> bool:
        """Tell whether a request may be let in: with room to spare, unless nothing else runs."""
        memory = self._memory
        spare = int(self._limits.spare_frac * memory.most_bytes) if num_running else 0
        return memory.has(num_bytes + spare)

    def _prompts(self, budget: int, *, may_let_in: bool) -> list[Chunk]:
        """Choose chunks of prompts for a step, at most `budget` tokens."""
        chunks: list[Chunk] = []
        for request in self._prefilling:
            num_tokens = self._chunk_tokens(request, budget, is_first=not chunks)
            if num_tokens:
                chunks.append((request, num_tokens))
                budget -= num_tokens
        while budget and may_let_in and self._queue:
            request = self._queue[0][1]
            if self._swapped and self._swapped[0].order < request.order:
                break
            num_tokens = self._chunk_tokens(request, budget, is_first=not chunks)
            if not num_tokens or not self._let_in(request):
                break
            chunks.append((request, num_tokens))
            budget -= num_tokens
        if self._limits.displaces:
            chunks = [chunk for chunk in chunks if chunk[0] in self._prefilling]
        return chunks

    def _chunk_tokens(self, request: Served, budget: int, *, is_first: bool) -> int:
        """Return how many tokens of a request's prompt the step takes, 0 for none."""
        left, most = request.prefill_until - request.position, self._limits.chunk_tokens
        if most is None:
            if self._scheduling.mixes or left <= budget or is_first:
                return min(left, budget)
            return 0
        return min(left, most, budget)

    def _let_in(self, request: Served) -> bool:
        """Give the queue's head a place and KV cache, if there are or can be."""
        num_bytes = self._pages.bytes_of(request.prefill_until)
        displaced = self._displaced_by(request, num_bytes)
        if displaced is None:
            return False
        for other in displaced:
            self._preempt(other)
        if not self._memory.take(num_bytes):
            return False
        popped = heapq.heappop(self._queue)[1]
        assert popped is request, "those that were displaced are behind it"
        request.kv_bytes, request.kv_tokens = num_bytes, self._pages.rounded_up(request.prefill_until)
        if request.rows is NO_ROWS:
            request.rows = request.take_rows()
        self._prefilling.append(request)
        self._record.begun(request, self._now_ns)
        return True

    def _displaced_by(self, request: Served, num_bytes: int) -> Sequence[Served] | None:
        """Return who has to give up a place for a request that wants one and KV cache; None if that does not help."""
        num_running, freed_bytes = self.num_running(), 0
        displaced: list[Served] = []
        lower: list[Served] = []
        if self._limits.displaces:
            running = (*self._cohort.requests, *self._prefilling)
            lower = sorted((one for one in running if one.order[0] > request.order[0]), key=lambda one: one.order)
        while num_running >= self._limits.batch or not self._has_room(num_bytes - freed_bytes, num_running):
            if not lower:
                return None
            displaced.append(lower.pop())
            num_running -= 1
            freed_bytes += displaced[-1].kv_bytes
        return displaced

    def _last_running(self) -> Served:
        return max((*self._cohort.requests, *self._prefilling), key=lambda request: request.order)

    def _preempt(self, request: Served) -> None:
        """Take a request's place and KV cache away."""
        self._has_preempted = True
        if request in self._prefilling:
            self._prefilling.remove(request)
        else:
            self._cohort.leave(request)
            self._record.left_cohort(request, None)
            request.prefill_until = request.position + 1 if self._limits.preemption == "recompute" else request.position
        self._memory.free(request.kv_bytes)
        self._record.preempted(request, self._now_ns)
        if self._limits.preemption == "swap" and request.position:
            request.kv_bytes = self._pages.bytes_of(request.position)
            self._out_bytes += request.kv_bytes
            self._swapped.append(request)
            self._swapped.sort(key=lambda waiting: waiting.order)
        else:
            request.position = request.kv_bytes = request.kv_tokens = 0
            self._enqueue(request)

    def _step(self) -> Step:
        """Make the step of what has been chosen."""
        cohort, chunks, sees, routing = self._cohort, self._chunks, self._sees, self._routing
        decoding = list(cohort.requests) if self._decodes else []
        steps = cohort.num_steps
        positions = [request.offset + steps for request in decoding]
        rows = np.array([request.rows[at] for request, at in zip(decoding, positions, strict=True)], np.int64)
        if chunks:
            parts = [request.rows[request.position : request.position + num_tokens] for request, num_tokens in chunks]
            rows = np.concatenate([rows, *parts])
        ranges = [range(request.position + 1, request.position + num + 1) for request, num in chunks]
        request_of_token: list[int] | None = None
        if chunks and (decoding or len(chunks) > 1):
            request_of_token = [request.index for request in decoding]
            for request, num_tokens in chunks:
                request_of_token += [request.index] * num_tokens
        emits = decoding
        if chunks:
            emits = decoding + [one for one, num in chunks if one.position + num == one.prefill_until]
        copies = None
        if self._out_bytes or self._in_bytes:
            copies = KvCopies(out_bytes=self._out_bytes, in_bytes=self._in_bytes)
        return Step(
            is_prefill=not decoding,
            tokens=routing.tokens(rows),
            contexts=Contexts([at + 1 for at in positions], ranges),
            requests=decoding + [request for request, _ in chunks],
            emits=emits,
            weights=routing.weights(rows) if sees.gate_weights else None,
            lookahead=routing.lookahead(rows, sees.lookahead_layers) if sees.lookahead_layers else None,
            visits=routing.visits(rows),
            copies=copies,
            mixed_prompt_tokens=sum(num for _, num in chunks) if decoding else 0,
            request_of_token=request_of_token,
        )


def _no_rows() -> Rows:
    return NO_ROWS
