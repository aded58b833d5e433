"""Record what a live transformers model routes: `with record(model, "t.safetensors"): model.generate(...)`.

Legend: B rows of the batch, S tokens per row in one forward pass, N = B * S, W columns of a batch so far, L routing
rounds, K top-k, D lookahead distances.

Hooks only keep references to the ids and weights that the experts are given. At the end of a forward pass those of all
layers are stacked, sorted by weight and sent to host memory together, which costs a dozen small kernels per pass
rather than per layer. What belongs to which sequence is worked out on the host, when the sequences end.
"""

import inspect
import json
import platform
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor, nn

from traces.capture.buffer import HostBuffer
from traces.capture.gate import describe_gate
from traces.capture.layers import MoELayer, find_moe_layers, router_logits
from traces.capture.output import TraceOutput
from traces.errors import TraceError
from traces.format import Ids, Sequences, TraceMetadata, expert_id_dtype

_PADDING = -1  # stands for the token id of padding in the host buffer

LOOKAHEAD_INPUT = (
    "the input of layer l's router, as it is (normalised by layer l), given to the router of layer l+d; "
    "where there is no layer l+d, layer l's own ids"
)


@dataclass(slots=True, kw_only=True)
class _Pass:
    """One forward pass of the open batch: N rows of the host buffer from `first_row`, [B, S] of them."""

    first_row: int
    width: int
    kept_width: int
    is_prompt: bool


@dataclass(slots=True, kw_only=True)
class _Batch:
    """The sequences that are being recorded."""

    num_rows: int
    num_context_columns: int
    context_tokens: NDArray[np.int32]
    has_token_ids: bool
    attention_mask: Tensor | None
    prompt_tokens: Sequence[int] | None
    categories: Sequence[str] | None
    cache: "weakref.ref[object] | None" = None
    passes: list[_Pass] = field(default_factory=list)

    @property
    def num_columns(self) -> int:
        return self.num_context_columns + sum(one.kept_width for one in self.passes)

    def is_decoding(self) -> bool:
        return any(not one.is_prompt for one in self.passes)

    def crop(self, num_columns: int) -> None:
        """Forget columns that the cache has dropped again."""
        while self.passes and self.num_columns > num_columns:
            last = self.passes[-1]
            surplus = self.num_columns - num_columns
            if surplus >= last.kept_width:
                self.passes.pop()
            else:
                last.kept_width -= surplus


@dataclass(slots=True, kw_only=True)
class _Announced:
    """What the caller said of the sequences that the next forward pass begins."""

    attention_mask: Tensor | None
    prompt_tokens: Sequence[int] | None
    categories: Sequence[str] | None


@dataclass(slots=True, kw_only=True)
class _Inputs:
    """What the forward pass that is running was given."""

    token_ids: Tensor | None
    num_rows: int
    width: int
    device: torch.device
    attention_mask: Tensor | None
    has_prepared_mask: bool
    cache: object | None
    past: int


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
        self.model_name = model_name or _model_name(model)
        self.source = source
        self.licence = licence
        self.extra = dict(extra or {})
        self._output = TraceOutput(out, lambda: self.metadata, shard_tokens=shard_tokens)
        self._buffer = HostBuffer(buffer_tokens)
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        self._parameter_names = tuple(name for name in inspect.signature(type(model).forward).parameters)[1:]
        self._started = datetime.now(UTC)
        self._rounds: tuple[int, ...] = ()
        self._gate: dict[str, str] = {}
        self._batch: _Batch | None = None
        self._announced: _Announced | None = None
        self._inputs: _Inputs | None = None
        self._routed: list[tuple[int, Tensor, Tensor]] = []
        self._foreseen: dict[int, list[tuple[Tensor, Tensor]]] = {}
        self._states: dict[int, Tensor] = {}
        self._first_logits: Tensor | None = None
        self._foreseeing = False

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
        num_banks = len(set(self._rounds))
        extra = {
            "torch_version": torch.__version__,
            "transformers_version": transformers.__version__,
            "python_version": platform.python_version(),
            "device": _devices(self.model),
            "dtype": str(getattr(self.model, "dtype", "unknown")).removeprefix("torch."),
            "date": self._started.isoformat(timespec="seconds"),
            "model_class": type(self.model).__name__,
            "moe_layers": json.dumps([layer.name for layer in self.layers]),
        }
        if self.lookahead:
            num_layers = len(self._rounds)
            extra["lookahead_input"] = LOOKAHEAD_INPUT
            extra["lookahead_valid"] = json.dumps(
                [min(self.lookahead, num_layers - 1 - at) for at in range(num_layers)]
            )
        extra |= {name: value for name, value in self._gate.items() if name != "gate"}
        return TraceMetadata(
            model=self.model_name,
            num_experts=self.num_experts,
            banks=self._rounds if num_banks < len(self._rounds) else (),
            gate=self._gate.get("gate", "unknown"),
            captured=(
                f"hooks of moesim on transformers {transformers.__version__}, torch {torch.__version__}, "
                f"{extra['dtype']} on {extra['device']}, {extra['date']}"
            ),
            source=self.source,
            licence=self.licence,
            categories=self.categories,
            extra=extra | self.extra,
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
        self._announced = _Announced(attention_mask=attention_mask, prompt_tokens=prompt_tokens, categories=categories)

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
            sequences = self._assemble(batch, arrays, num_tokens)
            if sequences is not None:
                self._output.append(sequences)

    def sequences(self) -> Sequences:
        """Return what was recorded, if no `out` was given. Raises TraceError if that is nothing."""
        self.end_sequences()
        return self._output.sequences()

    def __enter__(self) -> "Recorder":
        for index, layer in enumerate(self.layers):
            if layer.read is None:
                hook = layer.experts.register_forward_pre_hook(self._experts_hook(index), with_kwargs=True)
                self._hooks.append(hook)
            else:
                assert layer.router is not None
                self._hooks.append(layer.router.register_forward_hook(self._reader_hook(index)))
            if self.lookahead and layer.router is not None:
                hook = layer.router.register_forward_pre_hook(self._lookahead_hook(index), with_kwargs=True)
                self._hooks.append(hook)
        first = self.layers[0].router
        if first is not None and not self._rounds:
            self._gate_hook = first.register_forward_hook(self._see_first_logits)
            self._hooks.append(self._gate_hook)
        self._hooks.append(self.model.register_forward_pre_hook(self._begin_pass, with_kwargs=True))
        self._hooks.append(self.model.register_forward_hook(self._end_pass))
        return self

    def detach(self) -> None:
        """Take the hooks off the model; `__enter__` puts them on again, and passes in between are not recorded."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        self.detach()
        self.end_sequences()
        self._output.close()
        if kind is None and not self.num_tokens:
            raise TraceError(
                self.model_name, "nothing was recorded; call the model that was given to record inside the with block"
            )

    def _experts_hook(self, index: int) -> Callable[[nn.Module, tuple[Tensor, ...], dict[str, Tensor]], None]:
        def see_routing(_module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
            if self._inputs is None:
                raise self._outside(index)
            _, ids, weights = args if len(args) == 3 else (*args, *kwargs.values())
            self._routed.append((index, ids, weights))

        return see_routing

    def _reader_hook(self, index: int) -> Callable[[nn.Module, tuple[Tensor, ...], tuple[Tensor, ...]], None]:
        read = self.layers[index].read
        assert read is not None

        def see_router(module: nn.Module, _args: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
            if self._foreseeing:
                return
            if self._inputs is None:
                raise self._outside(index)
            self._routed.append((index, *read(module, output)))

        return see_router

    def _outside(self, index: int) -> TraceError:
        return TraceError(
            self.model_name,
            f"{self.layers[index].name} ran outside a forward pass of {type(self.model).__name__}, which is recorded; "
            "give record the module that is called",
        )

    def _lookahead_hook(self, index: int) -> Callable[[nn.Module, tuple[Tensor, ...], dict[str, Tensor]], None]:
        """Return a hook that gives this layer's router the inputs of the D routers before it, all in one call."""
        layer = self.layers[index]
        sources = range(max(0, index - self.lookahead), index)

        def foresee(_module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
            if self._foreseeing or self._inputs is None:
                return
            hidden_states = args[0] if args else kwargs["hidden_states"]
            self._foreseeing = True
            try:
                with torch.no_grad():
                    if sources:
                        states = [self._states[source].to(hidden_states.device) for source in sources]
                        ids, weights = layer.route(torch.cat(states))
                        parts = zip(sources, ids.chunk(len(states)), weights.chunk(len(states)), strict=True)
                        for source, *routing in parts:
                            self._foreseen.setdefault(source, []).append((routing[0], routing[1]))
                    self._states[index] = hidden_states.clone()
                    self._states.pop(index - self.lookahead, None)
            finally:
                self._foreseeing = False

        return foresee

    def _see_first_logits(self, _module: nn.Module, _args: object, output: "Tensor | tuple[Tensor, ...]") -> None:
        if not self._foreseeing and self._inputs is not None:
            logits = router_logits(self.layers[0], output)
            self._first_logits = None if logits is None else logits.detach()

    def _begin_pass(self, _module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        self._routed, self._foreseen, self._states = [], {}, {}
        self._inputs = self._read_inputs(dict(zip(self._parameter_names, args, strict=False)) | kwargs)

    def _read_inputs(self, given: Mapping[str, object]) -> _Inputs:
        prefix = "decoder_" if getattr(getattr(self.model, "config", None), "is_encoder_decoder", False) else ""
        token_ids, embeddings = given.get(f"{prefix}input_ids"), given.get(f"{prefix}inputs_embeds")
        shown = token_ids if isinstance(token_ids, Tensor) else embeddings
        if not isinstance(shown, Tensor):
            raise TraceError(self.model_name, f"was called without {prefix}input_ids or {prefix}inputs_embeds")
        if self.token_ids and not isinstance(token_ids, Tensor):
            raise TraceError(self.model_name, f"was called without {prefix}input_ids, so token ids cannot be recorded")
        num_rows, width = shown.shape[:2]
        mask = given.get(f"{prefix}attention_mask")
        cache = given.get("past_key_values")
        return _Inputs(
            token_ids=token_ids if isinstance(token_ids, Tensor) else None,
            num_rows=num_rows,
            width=width,
            device=shown.device,
            attention_mask=mask if isinstance(mask, Tensor) and mask.ndim == 2 else None,
            has_prepared_mask=mask is not None and not (isinstance(mask, Tensor) and mask.ndim == 2),
            cache=cache,
            past=_cached_tokens(cache, mask, width),
        )

    def _end_pass(self, _module: nn.Module, _args: object, _output: object) -> None:
        inputs, self._inputs = self._inputs, None
        if inputs is None:
            raise TraceError(self.model_name, "is called from within its own forward pass; record the outermost module")
        with torch.no_grad():
            self._check_rounds(inputs)
            batch, is_prompt = self._batch_of(inputs)
            first_row = self._buffer.append(self._columns(inputs, batch))
        batch.passes.append(
            _Pass(first_row=first_row, width=inputs.width, kept_width=inputs.width, is_prompt=is_prompt)
        )
        self._routed, self._foreseen, self._states = [], {}, {}

    def _check_rounds(self, inputs: _Inputs) -> None:
        """Learn the order of the rounds and the gate from the first pass, hold later ones to it."""
        rounds = tuple(index for index, _, _ in self._routed)
        if not self._rounds:
            silent = sorted(set(range(len(self.layers))) - set(rounds))
            if silent:
                raise TraceError(
                    self.model_name,
                    f"ran without {self.layers[silent[0]].name}; capture needs all MoE layers in every pass",
                )
            if self.lookahead and rounds != tuple(range(len(self.layers))):
                raise TraceError(
                    self.model_name, "does not run its MoE layers once each in order; record without lookahead"
                )
            self._rounds = rounds
            first = self.layers[rounds[0]]
            _, ids, weights = self._routed[0]
            self._gate = describe_gate(
                first, self._first_logits, ids.reshape(-1, ids.shape[-1]), weights.reshape(-1, ids.shape[-1])
            )
            self._first_logits = None
            if first.router is not None:
                self._gate_hook.remove()
        elif rounds != self._rounds:
            raise TraceError(self.model_name, f"ran {len(rounds)} routing rounds in a pass, {len(self._rounds)} before")
        for index, ids, _ in self._routed:
            if ids.numel() != inputs.num_rows * inputs.width * ids.shape[-1]:
                raise TraceError(
                    self.model_name,
                    f"{self.layers[index].name} routed {ids.numel() // ids.shape[-1]} tokens in a pass of "
                    f"{inputs.num_rows} x {inputs.width}; capture needs text in which every token is routed",
                )

    def _batch_of(self, inputs: _Inputs) -> tuple[_Batch, bool]:
        """Return the batch that the pass belongs to, and whether its tokens are a prompt's."""
        batch, announced = self._batch, self._announced
        known_cache = batch is not None and batch.cache is not None and batch.cache() is inputs.cache
        continues = (
            batch is not None
            and announced is None
            and inputs.past > 0
            and batch.num_rows == inputs.num_rows
            and (batch.num_columns == inputs.past or (known_cache and inputs.past < batch.num_columns))
        )
        if not continues:
            self.end_sequences()
            batch = self._begin_batch(inputs, announced)
            is_prompt = inputs.past == 0 or inputs.width > 1
        else:
            assert batch is not None
            batch.crop(inputs.past)
            is_prompt = inputs.width > 1 and not batch.is_decoding()
        if inputs.cache is not None and not known_cache:
            batch.cache = weakref.ref(inputs.cache)
        return batch, is_prompt

    def _begin_batch(self, inputs: _Inputs, announced: _Announced | None) -> _Batch:
        context = np.full(inputs.num_rows, inputs.past, np.int32)
        if inputs.past and inputs.attention_mask is not None:
            context = inputs.attention_mask[:, : inputs.past].sum(dim=1).to("cpu", torch.int32).numpy()
        for name in ("prompt_tokens", "categories"):
            told = getattr(announced, name, None)
            if told is not None and len(told) != inputs.num_rows:
                raise TraceError(
                    self.model_name, f"{name} has {len(told)} entries for a batch of {inputs.num_rows} rows"
                )
        announced_mask = announced.attention_mask if announced is not None else None
        if announced_mask is None and inputs.has_prepared_mask:
            raise TraceError(
                self.model_name,
                "was given an attention mask that is prepared already, which does not tell padding; give the plain one "
                "to recorder.new_sequences(attention_mask=...) before this pass",
            )
        self._batch = _Batch(
            num_rows=inputs.num_rows,
            num_context_columns=inputs.past,
            context_tokens=context,
            has_token_ids=inputs.token_ids is not None,
            attention_mask=announced_mask.to(inputs.device) if announced_mask is not None else None,
            prompt_tokens=announced.prompt_tokens if announced is not None else None,
            categories=announced.categories if announced is not None else None,
        )
        self._announced = None
        return self._batch

    def _columns(self, inputs: _Inputs, batch: _Batch) -> dict[str, Tensor]:
        """Return the tensors of a pass, each [N, ...], on the devices where they were made."""
        shape = (inputs.num_rows, inputs.width)
        tokens = (
            inputs.token_ids.to(torch.int32)
            if inputs.token_ids is not None
            else torch.zeros(shape, dtype=torch.int32, device=inputs.device)
        )
        mask = inputs.attention_mask
        if mask is not None:
            mask = mask[:, -inputs.width :].to(inputs.device)
        if batch.attention_mask is not None:
            begin = batch.num_columns - batch.num_context_columns
            announced = batch.attention_mask[:, begin : begin + inputs.width]
            mask = nn.functional.pad(announced, (0, inputs.width - announced.shape[1]), value=1)
        if mask is not None:
            tokens = tokens.masked_fill(mask == 0, _PADDING)
        columns = {"tokens": tokens.reshape(-1)}
        for number, rounds in enumerate(self._device_groups()):
            columns |= self._group_columns(number, rounds)
        return columns

    def _device_groups(self) -> list[list[int]]:
        """Group consecutive rounds by the device that they ran on."""
        groups: list[list[int]] = []
        last: torch.device | None = None
        for at, (_, ids, _) in enumerate(self._routed):
            if ids.device != last:
                groups.append([])
            groups[-1].append(at)
            last = ids.device
        return groups

    def _group_columns(self, number: int, rounds: list[int]) -> dict[str, Tensor]:
        routings = [self._routed[at] for at in rounds]
        top_k = routings[0][1].shape[-1]
        ids_NLK, weights_NLK = self._sorted([(ids, weights) for _, ids, weights in routings], top_k)
        columns = {f"ids.{number:03d}": ids_NLK}
        if self.gate_weights:
            columns[f"weights.{number:03d}"] = weights_NLK.to(torch.float16)
        if self.lookahead:
            foreseen = [pair for index, ids, weights in routings for pair in self._filled(index, ids, weights)]
            ids_NMK, _ = self._sorted(foreseen, top_k)
            columns[f"lookahead.{number:03d}"] = ids_NMK.reshape(len(ids_NMK), len(rounds), self.lookahead, top_k)
        return columns

    def _filled(self, index: int, ids: Tensor, weights: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return D routings that were foreseen at a layer, its own in place of layers that do not exist."""
        pairs = [(one.to(ids.device), other.to(ids.device)) for one, other in self._foreseen.get(index, ())]
        return pairs + [(ids, weights)] * (self.lookahead - len(pairs))

    def _sorted(self, routings: list[tuple[Tensor, Tensor]], top_k: int) -> tuple[Tensor, Tensor]:
        """Stack routings to [N, rounds, K], by descending weight; equal weights keep the router's order."""
        for index, (ids, _) in zip(self._rounds, routings, strict=False):
            if ids.shape[-1] != top_k:
                raise TraceError(
                    self.model_name, f"{self.layers[index].name} picks {ids.shape[-1]} experts, others {top_k}"
                )
        ids_NLK = torch.stack([ids.reshape(-1, top_k) for ids, _ in routings], dim=1)
        weights_NLK = torch.stack([weights.reshape(-1, top_k).float() for _, weights in routings], dim=1)
        if top_k > 1:
            weights_NLK, order = weights_NLK.sort(dim=-1, descending=True, stable=True)
            ids_NLK = ids_NLK.gather(-1, order)
        return ids_NLK.to(torch.uint8 if self.num_experts <= 256 else torch.int16), weights_NLK

    def _assemble(
        self, batch: _Batch, arrays: Mapping[str, NDArray[np.generic]], num_tokens: Sequence[int] | None
    ) -> Sequences | None:
        """Cut the rows of a batch out of what its passes left in the buffer."""
        rows_BW = np.concatenate(
            [
                one.first_row + np.arange(batch.num_rows)[:, None] * one.width + np.arange(one.kept_width)
                for one in batch.passes
            ],
            axis=1,
        )
        is_prompt_W = np.concatenate([np.full(one.kept_width, one.is_prompt) for one in batch.passes])
        tokens_BW = arrays["tokens"][rows_BW]
        picked: list[NDArray[np.int64]] = []
        prompts: list[int] = []
        kept: list[int] = []
        for row in range(batch.num_rows):
            real_W = tokens_BW[row] != _PADDING
            tokens = tokens_BW[row][real_W]
            prompt = int((real_W & is_prompt_W).sum()) if batch.prompt_tokens is None else batch.prompt_tokens[row]
            stop = len(tokens) if num_tokens is None else min(num_tokens[row], len(tokens))
            if batch.has_token_ids and self.eos_token_ids:
                ended = np.nonzero(np.isin(tokens[prompt:], list(self.eos_token_ids)))[0]
                if len(ended):
                    stop = min(stop, prompt + int(ended[0]))
            if stop > 0:
                picked.append(rows_BW[row][real_W][:stop])
                prompts.append(min(prompt, stop))
                kept.append(row)
        if not picked:
            return None
        at = np.concatenate(picked)
        return Sequences(
            expert_ids=_ids(arrays, "ids.", at, self.num_experts),
            sequence_start=np.cumsum([0, *(len(one) for one in picked)], dtype=np.int64),
            prompt_tokens=np.array(prompts, np.int32),
            gate_weights=_joined(arrays, "weights.")[at].view(np.float16) if self.gate_weights else None,
            context_start=batch.context_tokens[kept],
            sequence_category=self._category_numbers(batch, kept),
            lookahead_ids=_ids(arrays, "lookahead.", at, self.num_experts) if self.lookahead else None,
            token_ids=arrays["tokens"][at].view(np.int32) if self.token_ids else None,
        )

    def _category_numbers(self, batch: _Batch, rows: list[int]) -> NDArray[np.uint16] | None:
        if not self.categories:
            return None
        if batch.categories is None:
            raise TraceError(self.model_name, "the sequences have no categories; give them to new_sequences")
        return np.array([self.categories.index(batch.categories[row]) for row in rows], np.uint16)


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


def _joined(arrays: Mapping[str, NDArray[np.generic]], prefix: str) -> NDArray[np.generic]:
    """Join the device groups of one tensor along its rounds."""
    groups = [arrays[name] for name in sorted(arrays) if name.startswith(prefix)]
    return groups[0] if len(groups) == 1 else np.concatenate(groups, axis=1)


def _ids(arrays: Mapping[str, NDArray[np.generic]], prefix: str, at: NDArray[np.int64], num_experts: int) -> Ids:
    """Return rows of an id tensor in the dtype of the format; torch has no unsigned 16-bit arithmetic."""
    rows = _joined(arrays, prefix)[at]
    return rows.view(np.uint8) if expert_id_dtype(num_experts) is np.uint8 else rows.view(np.uint16)


def _cached_tokens(cache: object | None, mask: object, width: int) -> int:
    """Return how many tokens stand in the cache, without asking a GPU where that can be had otherwise.

    Raises TraceError where neither the cache nor a mask tells.
    """
    found: object = 0
    if cache is None:
        return 0
    lengths = [getattr(cache, "get_seq_length", None)]
    lengths += [getattr(layer, "get_seq_length", None) for layer in getattr(cache, "layers", ())]
    for length in lengths:
        try:
            found = length() if length is not None else 0
        except ValueError:  # a cache of recurrent layers alone
            break
        if isinstance(found, Tensor):
            break
        if found:  # a cache that mixes recurrent layers in may say 0 of the first layer
            return int(found)
    else:
        return 0
    if isinstance(mask, Tensor) and mask.ndim == 2:
        return int(mask.shape[1]) - width
    if isinstance(found, Tensor):
        return int(found)
    raise TraceError("capture", f"{type(cache).__name__} does not tell its length; give the model an attention_mask")


def _eos_token_ids(model: nn.Module) -> list[int]:
    for holder in ("generation_config", "config"):
        found = getattr(getattr(model, holder, None), "eos_token_id", None)
        if found is not None:
            return [int(one) for one in found] if isinstance(found, (list, tuple)) else [int(found)]
    return []


def _model_name(model: nn.Module) -> str:
    """Return the hub id, or the name of a local model's directory: the path to it is nobody's business."""
    name = str(getattr(getattr(model, "config", None), "_name_or_path", ""))
    if Path(name).is_dir():
        name = Path(name).resolve().name if name else ""
    return name or type(model).__name__


def _devices(model: nn.Module) -> str:
    """Name the devices that hold the parameters: `cuda:0 (NVIDIA ...)`, `cpu`."""
    devices = sorted({parameter.device for parameter in model.parameters() if parameter.device.type != "meta"}, key=str)
    return ", ".join(
        f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
        for device in devices
    )
