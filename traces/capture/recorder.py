"""Record what a live transformers model routes: `with record(model, "t.safetensors"): model.generate(...)`.

Hooks (`watch`) only keep references to the ids and weights that the experts are given. At the end of a forward pass
those of all layers are stacked, sorted (`stack`) and sent to host memory (`buffer`) together, which costs a dozen small
kernels per pass rather than per layer. What belongs to which sequence (`batch`) is worked out on the host, when the
sequences end (`assembly`, `output`).
"""

import weakref
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from torch import Tensor, nn

from traces.capture.assembly import assemble
from traces.capture.batch import Announced, Batch, begin_batch
from traces.capture.buffer import HostBuffer
from traces.capture.layers import MoELayer, find_moe_layers
from traces.capture.metadata import describe_recording, name_of_model
from traces.capture.output import TraceOutput
from traces.capture.passes import PassInputs, PassRouting
from traces.capture.stack import stack_routing
from traces.capture.watch import ModelWatch
from traces.errors import TraceError
from traces.format import Sequences, TraceMetadata


class Recorder:
    """Record the routing of a model between `__enter__` and `__exit__`; see `record`.

    How forward passes become sequences: a pass without a cache, or with an empty one, begins one sequence per row. A
    pass whose cache holds as many tokens as were recorded continues them; one whose cache is the same but shorter
    first drops what the cache dropped. Any other pass begins sequences whose `context_start` says what the cache held.
    The tokens of passes up to the first continuing one of width 1 are the prompt. A row ends at an end-of-sequence
    token that it is fed after its prompt; that token, and what follows it, is not recorded. `new_sequences` and
    `end_sequences` say otherwise where that does not fit.
    """

    def __init__(
        self,
        model: nn.Module,
        out: str | Path | None = None,
        *,
        lookahead: int = 0,
        gate_weights: bool = True,
        token_ids: bool = False,
        eos_token_ids: Sequence[int] | None = None,
        categories: Sequence[str] = (),
        model_name: str | None = None,
        source: str = "unknown",
        licence: str = "unknown",
        extra: Mapping[str, str] | None = None,
        shard_tokens: int = 1 << 18,
        buffer_tokens: int = 4096,
    ) -> None:
        if lookahead < 0:
            raise TraceError("lookahead", f"is {lookahead}; it should be 0 or more layers")
        self.model = model
        self.layers: list[MoELayer] = find_moe_layers(model)
        self.lookahead = lookahead
        if lookahead:
            for layer in self.layers:
                layer.check_route()
        self.num_experts = max(layer.num_experts for layer in self.layers)
        self.gate_weights = gate_weights
        self.token_ids = token_ids
        self.eos_token_ids = frozenset(_eos_token_ids(model) if eos_token_ids is None else eos_token_ids)
        self.categories = tuple(categories)
        self.model_name = model_name or name_of_model(model)
        self.source = source
        self.licence = licence
        self.extra = dict(extra or {})
        self._output = TraceOutput(out, lambda: self.metadata, shard_tokens=shard_tokens)
        self._buffer = HostBuffer(buffer_tokens)
        self._watch = ModelWatch(
            model,
            self.layers,
            self._record_pass,
            model_name=self.model_name,
            lookahead=lookahead,
            needs_token_ids=token_ids,
        )
        self._started = datetime.now(UTC)
        self._batch: Batch | None = None
        self._announced: Announced | None = None

    @property
    def num_sequences(self) -> int:
        """Count the sequences that have ended so far."""
        return self._output.num_sequences

    @property
    def num_tokens(self) -> int:
        """Count the tokens of the sequences that have ended so far."""
        return self._output.num_tokens

    @property
    def metadata(self) -> TraceMetadata:
        """Return what the trace says of itself; the gate and the banks are known after the first forward pass."""
        return describe_recording(
            self.model,
            self.layers,
            model_name=self.model_name,
            num_experts=self.num_experts,
            rounds=self._watch.rounds,
            gate=self._watch.gate,
            lookahead=self.lookahead,
            started=self._started,
            source=self.source,
            licence=self.licence,
            categories=self.categories,
            extra=self.extra,
        )

    def new_sequences(
        self,
        *,
        attention_mask: Tensor | None = None,
        prompt_tokens: Sequence[int] | None = None,
        categories: Sequence[str] | None = None,
    ) -> None:
        """End the open sequences; the next forward pass begins one per row.

        `attention_mask` [B, W] says which of the first W tokens are padding, for a model that is not given such a mask.
        `prompt_tokens` and `categories` have an entry per row.
        """
        self.end_sequences()
        self._announced = Announced(attention_mask=attention_mask, prompt_tokens=prompt_tokens, categories=categories)

    def end_sequences(self, num_tokens: Sequence[int] | None = None) -> None:
        """End the open sequences, the row b after its first num_tokens[b] tokens."""
        batch, self._batch = self._batch, None
        self._announced = None
        if batch is None:
            return
        arrays = self._buffer.take()
        if num_tokens is not None and len(num_tokens) != batch.num_rows:
            raise TraceError(self.model_name, f"num_tokens has {len(num_tokens)} entries for {batch.num_rows} rows")
        if batch.passes:
            sequences = assemble(
                batch,
                arrays,
                num_tokens=num_tokens,
                eos_token_ids=self.eos_token_ids,
                categories=self.categories,
                num_experts=self.num_experts,
                token_ids=self.token_ids,
                model_name=self.model_name,
            )
            if sequences is not None:
                self._output.append(sequences)

    def sequences(self) -> Sequences:
        """Return what was recorded, if no `out` was given. Raises TraceError if that is nothing."""
        self.end_sequences()
        return self._output.sequences()

    def __enter__(self) -> "Recorder":
        self._watch.attach()
        return self

    def detach(self) -> None:
        """Take the hooks off the model; `__enter__` puts them on again, and passes in between are not recorded."""
        self._watch.detach()

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        self.detach()
        self.end_sequences()
        self._output.close()
        if kind is None and not self.num_tokens:
            raise TraceError(
                self.model_name, "nothing was recorded; call the model that was given to record inside the with block"
            )

    def _record_pass(self, inputs: PassInputs, routing: PassRouting) -> None:
        """Add a pass to the batch that it belongs to."""
        batch, announced = self._batch, self._announced
        known_cache = batch is not None and batch.holds_cache(inputs.cache)
        if batch is None or announced is not None or not batch.is_continued_by(inputs):
            self.end_sequences()
            batch = self._batch = begin_batch(inputs, announced, model_name=self.model_name)
        batch.crop(inputs.past)
        if inputs.cache is not None and not known_cache:
            batch.cache = weakref.ref(inputs.cache)
        routed = stack_routing(
            routing, num_experts=self.num_experts, lookahead=self.lookahead, gate_weights=self.gate_weights
        )
        batch.append(inputs, self._buffer.append({"tokens": batch.tokens(inputs)} | routed))


def record(
    model: nn.Module,
    out: str | Path | None = None,
    *,
    lookahead: int = 0,
    gate_weights: bool = True,
    token_ids: bool = False,
    eos_token_ids: Sequence[int] | None = None,
    categories: Sequence[str] = (),
    model_name: str | None = None,
    source: str = "unknown",
    licence: str = "unknown",
    extra: Mapping[str, str] | None = None,
    shard_tokens: int = 1 << 18,
    buffer_tokens: int = 4096,
) -> Recorder:
    """Return a context manager that records what `model` routes in every forward pass within it.

    `model` is the module that is called, or whose `generate` is. `out` ends in `.safetensors` for one file, else it is
    a directory of shards; without it the recording stays in memory, see `Recorder.sequences`. `lookahead` is the
    number D of distances of `lookahead_ids`. `eos_token_ids` end a row when they are fed after its prompt; by default
    those of the model's generation config. `categories` are the names that `Recorder.new_sequences` may use.

    Raises TraceError for a model that does not route, or that cannot be read; for an `out` that exists.
    """
    return Recorder(
        model,
        out,
        lookahead=lookahead,
        gate_weights=gate_weights,
        token_ids=token_ids,
        eos_token_ids=eos_token_ids,
        categories=categories,
        model_name=model_name,
        source=source,
        licence=licence,
        extra=extra,
        shard_tokens=shard_tokens,
        buffer_tokens=buffer_tokens,
    )


def _eos_token_ids(model: nn.Module) -> list[int]:
    for holder in ("generation_config", "config"):
        found = getattr(getattr(model, holder, None), "eos_token_id", None)
        if found is not None:
            return [int(one) for one in found] if isinstance(found, (list, tuple)) else [int(found)]
    return []
