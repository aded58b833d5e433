"""Run a workload's steps on a model, one forward pass each: rows, positions, tokens, sampling.

Legend: N requests of a step, V vocabulary.

The tokens that go in are drawn by (seed, sequence, position), whatever the model says: a step is the same work in every
run. What comes out is the greedy choice of the requests that emit, read back to the host as a server would.

Limits: greedy sampling alone; a step is one prefill chunk, or one token for each of several requests; where only some of
these emit, the head runs for all of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel

from hardware_profiles.errors import InputError
from simulator.workload.request import Request
from simulator.workload.step import Step
from validation.replay.attention import attention_shape
from validation.replay.kv import RowCache
from validation.replay.tokens import draw_tokens


@dataclass(slots=True, kw_only=True)
class _Row:
    """A request in its row: the token ids of its positions from context_start on, and the entries that it has."""

    request: Request
    token_ids: list[int] = field(default_factory=list)
    context_start: int = 0
    num_entries: int = 0

    def next_tokens(self, num_tokens: int) -> list[int]:
        first = self.num_entries - self.context_start
        self.num_entries += num_tokens
        return self.token_ids[first : first + num_tokens]


class StepRunner:
    """Run the steps of one run, in order. `reset` makes it ready for another."""

    def __init__(
        self, network: PreTrainedModel, torch_device: torch.device, *, batch: int, max_context: int, seed: int
    ) -> None:
        """Allocate the KV cache of `batch` rows of `max_context` tokens.

        Raises InputError if the model's attention is of an unsupported kind.
        """
        self.network = network
        self.torch_device = torch_device
        self.max_context = max_context
        self.seed = seed
        self.cache = RowCache(
            attention_shape(network), batch=batch, max_context=max_context, torch_device=torch_device, seed=seed
        )
        self._decoder = network.get_decoder()
        self._vocabulary = int(network.get_input_embeddings().num_embeddings)
        self._rows: list[_Row | None] = [None] * batch
        self._row_of: dict[int, int] = {}
        self._joining: list[Request] = []
        self._prepared: Step | None = None

    def reset(self) -> None:
        """Forget all rows, so that a fresh run may begin."""
        self._rows = [None] * len(self._rows)
        self._row_of.clear()
        self._prepared = None

    def prepare(self, step: Step) -> None:
        """Do what is the replay's own work, not a server's: give rows to requests, fill contexts, draw tokens.

        `run` does it for a step that was not prepared; call it first to keep it out of a measured time.
        Raises InputError if a request does not fit into a row.
        """
        for request in step.joins:
            assert None in self._rows, "more requests at a time than rows"
            self._row_of[id(request)] = index = self._rows.index(None)
            self._rows[index] = _Row(request=request)
        for request, context in zip(step.requests, step.contexts, strict=False):
            index = self._row_of[id(request)]
            row = self._row(index)
            if not row.token_ids:
                self._begin(index, row, int(context) - 1)
            assert int(context) == row.num_entries + 1, "a step that does not continue its request"
        if not step.is_prefill:
            self._put_first(step.requests)
        self._prepared = step

    def run(self, step: Step) -> Tensor:
        """Run one forward pass and return the next token ids of the step's `emits`, int64 on the host."""
        with torch.inference_mode():
            next_ids: Tensor = self.logits(step).argmax(dim=-1)
            return next_ids.cpu()

    def logits(self, step: Step) -> Tensor:
        """Run one forward pass and return the logits [emits, V] of the step's `emits`, on the device."""
        if self._prepared is not step:
            self.prepare(step)
        self._prepared = None
        logits = self._prefill(step) if step.is_prefill else self._decode(step)
        for request in step.ends:
            self._rows[self._row_of.pop(id(request))] = None
        return logits

    def _prefill(self, step: Step) -> Tensor:
        index = self._row_of[id(step.requests[0])]
        row, num_tokens = self._row(index), len(step.tokens)
        start = row.num_entries
        ids_N, positions_N = self._upload(row.next_tokens(num_tokens), range(start, start + num_tokens))
        mask = self.cache.begin_chunk(index, start, num_tokens)
        return self._forward(ids_N[None], positions_N[None], mask, keep=bool(step.emits))

    def _decode(self, step: Step) -> Tensor:
        rows = [self._row(index) for index in range(len(step.requests))]
        positions = [row.num_entries for row in rows]
        ids_N, positions_N = self._upload([row.next_tokens(1)[0] for row in rows], positions)
        mask = self.cache.begin_tokens(positions, positions_N)
        logits = self._forward(ids_N[:, None], positions_N[:, None], mask, keep=bool(step.emits))
        if step.emits and step.emits is not step.requests:
            logits = logits[[self._row_of[id(request)] for request in step.emits]]
        return logits

    def _forward(self, input_ids: Tensor, position_ids: Tensor, mask: Tensor | None, *, keep: bool) -> Tensor:
        """Return the logits [N, V] of each row's last token; none where no head is to run."""
        with torch.inference_mode():
            if keep:
                output = self.network(
                    input_ids=input_ids,
                    attention_mask=mask,
                    position_ids=position_ids,
                    past_key_values=self.cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
                logits: Tensor = output.logits[:, -1]
                return logits
            self._decoder(
                input_ids=input_ids,
                attention_mask=mask,
                position_ids=position_ids,
                past_key_values=self.cache,
                use_cache=True,
            )
            return torch.empty((0, self._vocabulary), dtype=self.cache.shape.dtype, device=self.torch_device)

    def _begin(self, index: int, row: _Row, context_start: int) -> None:
        """Let a request that has its first token now begin: its unrecorded context, its tokens."""
        request = row.request
        stop = context_start + request.total_tokens
        if stop > self.max_context:
            raise InputError(
                "max_context",
                f"is {self.max_context} tokens, but sequence {request.sequence} has {stop}: {context_start} before the "
                f"first recorded one and {request.total_tokens} recorded; allow {stop} or leave the sequence out",
            )
        positions = range(context_start, stop)
        row.token_ids = draw_tokens(self.seed, request.sequence, positions, self._vocabulary).tolist()
        row.context_start = row.num_entries = context_start
        self.cache.fill(index, context_start)

    def _put_first(self, requests: Sequence[Request]) -> None:
        """Reorder the rows so that those of `requests` come first, in this order.

        Rows keep their order while every request that ends is replaced, so this moves something only at a run's end.
        """
        wanted = [self._row_of[id(request)] for request in requests]
        if wanted == list(range(len(wanted))):
            return
        among = set(wanted)
        wanted += [index for index, row in enumerate(self._rows) if row is not None and index not in among]
        rows = [self._row(index) for index in wanted]
        moves = [(to, source) for to, source in enumerate(wanted) if to != source]
        self.cache.move(moves, max(row.num_entries for row in rows))
        self._rows = [*rows, *[None] * (len(self._rows) - len(rows))]
        self._row_of = {id(row.request): index for index, row in enumerate(rows)}

    def _row(self, index: int) -> _Row:
        row = self._rows[index]
        assert row is not None
        return row

    def _upload(self, token_ids: Iterable[int], positions: Iterable[int]) -> tuple[Tensor, Tensor]:
        """Return both on the device, int64, in one transfer."""
        both = torch.tensor([list(token_ids), list(positions)])
        ids_N, positions_N = both.to(self.torch_device).unbind()
        return ids_N, positions_N
