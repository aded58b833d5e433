"""What a reader finds in one foreign file, and how the finds of several become one trace.

Legend: T tokens, S sequences, L routing rounds (MoE layers), K top-k, D lookahead distances.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.errors import TraceError
from traces.format import Ids, Sequences, TraceMetadata, expert_id_dtype
from traces.importing.options import ImportOptions

_MAX_EXPERTS = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Routing as a foreign file has it: ids of any integer dtype, weights of any float dtype, nothing checked.

    `lengths` [S] are tokens per sequence. `notes` say what was left out or taken for granted; they are shown to the
    user and kept in the trace.
    """

    path: Path
    expert_ids: NDArray[Any]  # [T, L, K]
    lengths: NDArray[np.int64]  # [S]
    gate_weights: NDArray[Any] | None = None  # [T, L, K]
    prompt_tokens: NDArray[Any] | None = None  # [S]
    context_start: NDArray[Any] | None = None  # [S]
    category: Sequence[str] | None = None  # [S]
    lookahead_ids: NDArray[Any] | None = None  # [T, L, D, K]
    token_ids: NDArray[Any] | None = None  # [T]
    num_experts: int | None = None
    model: str | None = None
    gate: str | None = None
    captured: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A trace ready to be written, and what the user should know of it."""

    sequences: Sequences
    metadata: TraceMetadata
    notes: tuple[str, ...]


def join(parts: Sequence[Recorded], options: ImportOptions) -> Joined:
    """Join what was read from several files, in order, into one trace of the format's dtypes.

    Raises TraceError if the files do not fit together, a value does not fit its dtype, or something that the format
    needs is neither in the files nor in the options.
    """
    first = parts[0]
    notes = [note for part in parts for note in part.notes]
    for part in parts:
        _require_same_kind(part, first)
    num_experts = _num_experts(parts, options)
    sequences = []
    for part in parts:
        ids = _ids(part, "expert_ids", part.expert_ids, num_experts)
        weights = None if part.gate_weights is None else _float16(part, part.gate_weights)
        if weights is not None and weights.shape == ids.shape:
            ids, weights, sorted_note = _by_descending_weight(ids, weights)
            notes.extend(sorted_note)
        lookahead = None if part.lookahead_ids is None else _lookahead(part, part.lookahead_ids, num_experts)
        sequences.append((part, ids, weights, lookahead))
    names = [name for part in parts for name in part.category or ()]
    categories = tuple(dict.fromkeys(names))
    if len(categories) >= 1 << 16:
        raise TraceError(first.path, f"has {len(categories)} categories; the format holds {1 << 16}: map another field")
    code = {name: at for at, name in enumerate(categories)}
    prompts = np.concatenate([_prompt_tokens(part, options, notes) for part in parts])
    lengths = np.concatenate([part.lengths for part in parts])
    context = [part.context_start for part in parts]
    tokens = [part.token_ids for part in parts]
    joined = Sequences(
        expert_ids=np.concatenate([ids for _, ids, _, _ in sequences]),
        sequence_start=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        prompt_tokens=prompts,
        gate_weights=_joined([weights for _, _, weights, _ in sequences]),
        context_start=_joined([_int32(first, "context_start", value) for value in context if value is not None]),
        sequence_category=np.array([code[name] for name in names], np.uint16) if names else None,
        lookahead_ids=_joined([lookahead for _, _, _, lookahead in sequences]),
        token_ids=_joined([_int32(first, "token_ids", value) for value in tokens if value is not None]),
    )
    extra = dict(first.extra)
    if notes:
        extra["import_notes"] = "\n".join(dict.fromkeys(notes))
    metadata = TraceMetadata(
        model=options.model or _agreed(parts, "model") or "unknown",
        num_experts=num_experts,
        gate=options.gate or _agreed(parts, "gate") or "unknown",
        captured=options.captured or _agreed(parts, "captured") or "unknown",
        source=options.source,
        licence=options.licence,
        categories=categories,
        extra=extra,
    )
    return Joined(sequences=joined, metadata=metadata, notes=tuple(dict.fromkeys(notes)))


def keep_layers(path: Path, array: NDArray[Any], skip_layers: frozenset[int]) -> NDArray[Any]:
    """Return [T, L, ...] without the layers to skip. Raises TraceError for a layer that is not there."""
    if not skip_layers:
        return array
    missing = sorted(layer for layer in skip_layers if not 0 <= layer < array.shape[1])
    if missing:
        raise TraceError(path, f"has layers 0 to {array.shape[1] - 1}, so layer {missing[0]} cannot be skipped")
    return array[:, [layer for layer in range(array.shape[1]) if layer not in skip_layers]]


def require_integers(path: Path, name: str, array: NDArray[Any]) -> None:
    """Raise TraceError unless the array holds whole numbers."""
    if array.dtype.kind not in "iu":
        raise TraceError(path, f"{name} has the dtype {array.dtype}; it should hold whole numbers")


def _require_same_kind(part: Recorded, first: Recorded) -> None:
    if part.expert_ids.ndim != 3:
        raise TraceError(
            part.path, f"expert_ids has the shape {part.expert_ids.shape}; it should be [tokens, layers, top_k]"
        )
    if 0 in part.expert_ids.shape:
        raise TraceError(part.path, f"is empty: expert_ids has the shape {part.expert_ids.shape}")
    if part.expert_ids.shape[1:] != first.expert_ids.shape[1:]:
        raise TraceError(
            part.path,
            f"expert_ids has the shape {part.expert_ids.shape}, but that of {first.path} is {first.expert_ids.shape}; "
            "layers and top-k of one trace agree: import them apart",
        )
    if part.extra != first.extra:
        raise TraceError(part.path, f"says {dict(part.extra)}, but {first.path} {dict(first.extra)}: import them apart")
    for name in ("gate_weights", "context_start", "category", "lookahead_ids", "token_ids"):
        if (getattr(part, name) is None) != (getattr(first, name) is None):
            raise TraceError(part.path, f"{name} is in one file but not in the other ({first.path}): import them apart")
    wanted = int(part.lengths.sum())
    if wanted != len(part.expert_ids):
        raise TraceError(part.path, f"the sequences have {wanted} tokens, but expert_ids {len(part.expert_ids)}")


def _num_experts(parts: Sequence[Recorded], options: ImportOptions) -> int:
    said = {part.num_experts: part.path for part in parts if part.num_experts is not None}
    if options.num_experts is not None:
        said.setdefault(options.num_experts, parts[0].path)
    if len(said) > 1:
        raise TraceError(parts[0].path, f"num_experts is said to be {' and '.join(map(str, said))}; which is it?")
    if not said:
        largest = max(int(part.expert_ids.max()) for part in parts if part.expert_ids.dtype.kind in "iu")
        raise TraceError(
            parts[0].path,
            f"does not say how many experts a layer has (the largest id is {largest}): give it with --num-experts",
        )
    (num_experts,) = said
    top_k = parts[0].expert_ids.shape[2]
    if not top_k <= num_experts <= _MAX_EXPERTS:
        raise TraceError(parts[0].path, f"num_experts is {num_experts}; it should be {top_k} (top-k) to {_MAX_EXPERTS}")
    return num_experts


def _ids(part: Recorded, name: str, ids: NDArray[Any], num_experts: int) -> Ids:
    require_integers(part.path, name, ids)
    bad = (ids < 0) | (ids >= num_experts)
    if bad.any():
        token, layer, *rest = np.argwhere(bad)[0].tolist()
        value = int(ids[(token, layer, *rest)])
        layer_is_bad = bool(bad[:, layer].all())
        raise TraceError(
            part.path,
            f"{name}: expert {value} at token {token}, layer {layer}, but ids go from 0 to {num_experts - 1}"
            + (f"; if layer {layer} is dense, leave it out with --skip-layer {layer}" if layer_is_bad else ""),
        )
    if ids.ndim == 3 and ids.shape[2] > 1:
        constant = (ids == ids[:1, :, :1]).all(axis=(0, 2))
        if constant.any():
            layer = int(np.argmax(constant))
            raise TraceError(
                part.path,
                f"{name}: layer {layer} holds expert {int(ids[0, layer, 0])} everywhere, which is no routing; "
                f"if it is dense, leave it out with --skip-layer {layer}",
            )
    return _narrow(ids, num_experts)


def _lookahead(part: Recorded, ids: NDArray[Any], num_experts: int) -> Ids:
    require_integers(part.path, "lookahead_ids", ids)
    if ids.ndim != 4:
        raise TraceError(
            part.path, f"lookahead_ids has the shape {ids.shape}; it should be [tokens, layers, distances, top_k]"
        )
    limit = np.iinfo(expert_id_dtype(num_experts))
    if ids.size and (ids.min() < 0 or ids.max() > limit.max):
        raise TraceError(part.path, f"lookahead_ids: ids go from {ids.min()} to {ids.max()}, not within {limit.dtype}")
    return _narrow(ids, num_experts)


def _narrow(ids: NDArray[Any], num_experts: int) -> Ids:
    return ids.astype(np.uint8) if expert_id_dtype(num_experts) is np.uint8 else ids.astype(np.uint16)


def _float16(part: Recorded, weights: NDArray[Any]) -> NDArray[np.float16]:
    if weights.dtype.kind != "f":
        raise TraceError(part.path, f"gate_weights has the dtype {weights.dtype}; it should hold fractions")
    with np.errstate(over="ignore"):
        narrow = weights.astype(np.float16)
    lost = np.isfinite(weights) & ~np.isfinite(narrow)
    if lost.any():
        where = tuple(np.argwhere(lost)[0].tolist())
        raise TraceError(
            part.path,
            f"gate_weights: {weights[where]} at {list(where)} does not fit float16; are these logits? "
            "a trace holds weights as the model applied them",
        )
    return narrow


def _by_descending_weight(ids: Ids, weights: NDArray[np.float16]) -> tuple[Ids, NDArray[np.float16], list[str]]:
    rises = (weights[..., 1:] > weights[..., :-1]).any(axis=-1)
    if not rises.any():
        return ids, weights, []
    order = np.argsort(-weights[rises].astype(np.float32), axis=-1, kind="stable")
    ids, weights = ids.copy(), weights.copy()
    ids[rises] = np.take_along_axis(ids[rises], order, axis=-1)
    weights[rises] = np.take_along_axis(weights[rises], order, axis=-1)
    return ids, weights, [f"{int(rises.sum())} of {rises.size} top-k sets were not by descending weight: sorted"]


def _prompt_tokens(part: Recorded, options: ImportOptions, notes: list[str]) -> NDArray[np.int32]:
    asked = options.prompt_tokens
    if asked is None:
        if part.prompt_tokens is None:
            raise TraceError(
                part.path,
                "does not say which tokens are the prompt: give --prompt-tokens none (decode only), all (prefill "
                "only), a number of tokens, or the field that has it",
            )
        return _int32(part, "prompt_tokens", part.prompt_tokens)
    if part.prompt_tokens is not None:
        notes.append(f"prompt_tokens of the file are not used, but --prompt-tokens {asked}")
    if asked == "none":
        return np.zeros(len(part.lengths), np.int32)
    if asked == "all":
        return part.lengths.astype(np.int32)
    return np.full(len(part.lengths), asked, np.int32)


def _int32(part: Recorded, name: str, values: NDArray[Any]) -> NDArray[np.int32]:
    require_integers(part.path, name, values)
    limit = np.iinfo(np.int32)
    bad = (values < limit.min) | (values > limit.max)
    if bad.any():
        raise TraceError(part.path, f"{name}: {values[bad][0]} does not fit int32")
    return values.astype(np.int32)


def _joined(parts: Sequence[Any]) -> Any:  # noqa: ANN401 - the dtype is that of the parts
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if present else None


def _agreed(parts: Sequence[Recorded], name: str) -> str | None:
    said = list(dict.fromkeys(getattr(part, name) for part in parts if getattr(part, name)))
    if len(said) > 1:
        raise TraceError(parts[0].path, f"the files name {name} differently: {', '.join(said)}; give --{name}")
    return said[0] if said else None
