"""Routing traces on disk: one `.safetensors` file, or a directory of such shards with an `index.json`.

Legend: T tokens, S sequences, L routing rounds (MoE layers), K top-k, D lookahead distances.

| tensor | dtype, shape | meaning |
|---|---|---|
| `expert_ids` | uint8 or uint16 [T, L, K] | routed experts, by descending gate weight |
| `gate_weights` | float16 [T, L, K], optional | weights as the model applied them |
| `sequence_start` | int64 [S+1] | offsets into T, last = T |
| `prompt_tokens` | int32 [S] | leading tokens of the sequence that belong to the prompt (prefill) |
| `context_start` | int32 [S], optional | tokens in the context before the first recorded one |
| `sequence_category` | uint16 [S], optional | index into the metadata's `categories` |
| `lookahead_ids` | uint8 or uint16 [T, L, D, K], optional | what the gate of layer l+1+i picks from layer l's input |
| `token_ids` | int32 [T], optional | off by default: they reveal the prompt |

`lookahead_ids[t, l, i]` means nothing where layer l+1+i does not exist, and is not checked there.

Opening reads the header and the per-sequence tensors alone. The per-token tensors stay in the memory-mapped file and
are read, and checked, in slices; `Trace.check` checks them all.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from traces.errors import TraceError

if TYPE_CHECKING:
    from safetensors import safe_open

FORMAT_VERSION = "1"
INDEX_NAME = "index.json"

Ids = NDArray[np.uint8] | NDArray[np.uint16]

_REQUIRED = ("expert_ids", "sequence_start", "prompt_tokens")
_DTYPES = {
    "expert_ids": ("U8", "U16"),
    "gate_weights": ("F16",),
    "sequence_start": ("I64",),
    "prompt_tokens": ("I32",),
    "context_start": ("I32",),
    "sequence_category": ("U16",),
    "lookahead_ids": ("U8", "U16"),
    "token_ids": ("I32",),
}
_NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    "U8": np.dtype(np.uint8),
    "U16": np.dtype(np.uint16),
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
    "I32": np.dtype(np.int32),
    "I64": np.dtype(np.int64),
}
_PER_TOKEN = ("expert_ids", "gate_weights", "lookahead_ids", "token_ids")
_METADATA = ("format_version", "model", "shape", "banks", "gate", "captured", "source", "licence", "categories")
_MAX_EXPERTS = 1 << 16
_READABLE = 0o644  # temporary files are private; what is renamed into place is not
_EXISTS = "exists already; a trace never changes once written: choose another name"
_PAIRWISE_TOP_K = 12  # up to here comparing all pairs is faster than sorting
_CHECKED_TOKENS = 4096  # per slice of a full check: a few MB of the largest models


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceMetadata:
    """What a trace says of itself, beside its tensors.

    `num_experts` counts the experts of one bank. `banks` has one entry per routing round, the bank that it draws from;
    empty means that each round has a bank of its own. `gate` names how weights come from logits (`softmax`,
    `softmax_top_k`, `sigmoid`, ...); `captured` how, when and on what device; `source` and `licence` whose data it is.
    `categories` names the values of `sequence_category`. `extra` holds further strings, kept as they are; a key of the
    format's own in it (`shape`, `model`, ...) is a ValueError when written.
    """

    model: str
    num_experts: int
    banks: tuple[int, ...] = ()
    gate: str = "unknown"
    captured: str = "unknown"
    source: str = "unknown"
    licence: str = "unknown"
    categories: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequences:
    """Recorded routing of S whole sequences, in memory. Shapes and meanings are those of the module's table."""

    expert_ids: Ids
    sequence_start: NDArray[np.int64]
    prompt_tokens: NDArray[np.int32]
    gate_weights: NDArray[np.float16] | None = None
    context_start: NDArray[np.int32] | None = None
    sequence_category: NDArray[np.uint16] | None = None
    lookahead_ids: Ids | None = None
    token_ids: NDArray[np.int32] | None = None

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return the tensors that are there, by name."""
        named = {name: getattr(self, name) for name in _DTYPES}
        return {name: tensor for name, tensor in named.items() if tensor is not None}


def expert_id_dtype(num_experts: int) -> type[np.uint8] | type[np.uint16]:
    """Return the narrowest dtype that the format allows for ids below `num_experts`."""
    return np.uint8 if num_experts <= 256 else np.uint16


class Trace:
    """A trace opened for reading; see `open_trace`.

    Attributes: `path`; `metadata`; `num_tokens` T; `num_sequences` S; `num_layers` L; `top_k` K; `num_experts` per
    bank; `banks` [L], the bank of each round; `num_banks`; `sequence_start` int64 [S+1]; `prompt_tokens` int32 [S];
    `context_start` int32 [S] (zeros where the trace has none); `sequence_category` uint16 [S] or None;
    `lookahead_distances` D or 0.
    """

    def __init__(self, path: Path, shards: Sequence["_Shard"]) -> None:
        first = shards[0]
        for shard in shards[1:]:
            for what in ("metadata", "num_layers", "top_k", "lookahead_distances", "optional"):
                if getattr(shard, what) != getattr(first, what):
                    raise TraceError(
                        shard.path, f"{what} differs from that of {first.path.name}; shards of one trace agree"
                    )
        self.path = path
        self.metadata = first.metadata
        self.num_layers = first.num_layers
        self.top_k = first.top_k
        self.num_experts = first.metadata.num_experts
        self.banks = first.metadata.banks or tuple(range(first.num_layers))
        self.num_banks = max(self.banks) + 1
        self.lookahead_distances = first.lookahead_distances
        self.has_gate_weights = "gate_weights" in first.optional
        self._shards = tuple(shards)
        self._offsets = np.concatenate([[0], np.cumsum([shard.num_tokens for shard in shards])])
        self.num_tokens = int(self._offsets[-1])
        self.sequence_start = np.concatenate(
            [
                [0],
                *(shard.sequence_start[1:] + offset for shard, offset in zip(shards, self._offsets[:-1], strict=True)),
            ]
        ).astype(np.int64)
        self.num_sequences = len(self.sequence_start) - 1
        self.prompt_tokens = np.concatenate([shard.prompt_tokens for shard in shards])
        self.context_start = np.concatenate([shard.context_start for shard in shards])
        self.sequence_category = (
            np.concatenate([shard.per_sequence("sequence_category") for shard in shards])
            if "sequence_category" in first.optional
            else None
        )

    def expert_ids(self, start: int, stop: int) -> Ids:
        """Return `expert_ids` of tokens start..stop, [stop-start, L, K], checked. Raises TraceError."""
        return self._rows("expert_ids", start, stop)

    def gate_weights(self, start: int, stop: int) -> NDArray[np.float16]:
        """Return `gate_weights` of tokens start..stop, [stop-start, L, K], checked.

        Raises TraceError, KeyError if the trace has none (see `has_gate_weights`).
        """
        return self._rows("gate_weights", start, stop)

    def lookahead_ids(self, start: int, stop: int) -> Ids:
        """Return `lookahead_ids` of tokens start..stop, [stop-start, L, D, K], checked. Raises TraceError, KeyError."""
        return self._rows("lookahead_ids", start, stop)

    def sequence_tokens(self, sequence: int) -> range:
        """Return the offsets of a sequence's tokens."""
        return range(int(self.sequence_start[sequence]), int(self.sequence_start[sequence + 1]))

    def check(self) -> None:
        """Check every row of every per-token tensor. Raises TraceError at the first fault."""
        for shard in self._shards:
            for start in range(0, shard.num_tokens, _CHECKED_TOKENS):
                stop = min(start + _CHECKED_TOKENS, shard.num_tokens)
                for name in ("expert_ids", "gate_weights", "lookahead_ids"):
                    if name in shard.tensor_names:
                        shard.rows(name, start, stop)

    def require_model(self, *, num_layers: int, num_experts: int, top_k: int, model: str) -> None:
        """Raise TraceError if a model spec's L, E or K disagree with the trace."""
        wanted = {"MoE layers": num_layers, "experts": num_experts, "top-k": top_k}
        found = {"MoE layers": self.num_layers, "experts": self.num_experts, "top-k": self.top_k}
        faults = [
            f"{found[name]} {name} but the model {wanted[name]}" for name in wanted if found[name] != wanted[name]
        ]
        if faults:
            raise TraceError(
                self.path,
                f"was recorded from {self.metadata.model}, not from {model}: it has {', '.join(faults)}; "
                "name the model that it was recorded from",
            )

    def num_bytes(self) -> int:
        """Return the bytes of the trace's files."""
        return sum(shard.path.stat().st_size for shard in self._shards)

    def digest(self) -> str:
        """Return the SHA-256 of the trace's files, in the order of the index."""
        sha = hashlib.sha256()
        for shard in self._shards:
            with shard.path.open("rb") as file:
                while block := file.read(1 << 20):
                    sha.update(block)
        return sha.hexdigest()

    def sequences(self) -> Sequences:
        """Read the whole trace into memory, checked: for traces that fit there."""
        optional = self._shards[0].optional
        return Sequences(
            expert_ids=self.expert_ids(0, self.num_tokens),
            sequence_start=self.sequence_start,
            prompt_tokens=self.prompt_tokens,
            gate_weights=self.gate_weights(0, self.num_tokens) if self.has_gate_weights else None,
            context_start=self.context_start if "context_start" in optional else None,
            sequence_category=self.sequence_category,
            lookahead_ids=self.lookahead_ids(0, self.num_tokens) if self.lookahead_distances else None,
            token_ids=self._rows("token_ids", 0, self.num_tokens) if "token_ids" in optional else None,
        )

    def _rows(self, name: str, start: int, stop: int) -> "NDArray[Any]":
        parts = []
        for shard, offset in zip(self._shards, self._offsets[:-1].tolist(), strict=True):
            low, high = max(start, offset), min(stop, offset + shard.num_tokens)
            if low < high:
                parts.append(shard.rows(name, low - offset, high - offset))
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else self._shards[0].rows(name, 0, 0)


class _Shard:
    """One safetensors file of a trace, its header and per-sequence tensors checked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _open_safetensors(path)
        self.tensor_names = frozenset(self._file.keys())
        metadata = self._file.metadata() or {}
        version = metadata.get("format_version")
        if version != FORMAT_VERSION:
            raise TraceError(
                path,
                f"format_version is {version!r}; this moesim reads {FORMAT_VERSION!r}"
                + ("; is it a routing trace? (model weights are not)" if version is None else ""),
            )
        for name in _REQUIRED:
            if name not in self.tensor_names:
                raise TraceError(path, f"tensor {name} is missing; is it a routing trace?")
        self._check_dtypes()
        self._slices = {name: self._file.get_slice(name) for name in self.tensor_names & set(_PER_TOKEN)}
        shapes = {name: tuple(part.get_shape()) for name, part in self._slices.items()}
        ids_shape = shapes["expert_ids"]
        if len(ids_shape) != 3:
            raise TraceError(path, f"expert_ids has the shape {ids_shape}; it should be [tokens, layers, top_k]")
        self.num_tokens, self.num_layers, self.top_k = ids_shape
        if 0 in ids_shape:
            raise TraceError(path, f"is empty: expert_ids has the shape {ids_shape}; record at least one token")
        self.lookahead_distances = shapes["lookahead_ids"][2] if len(shapes.get("lookahead_ids", ())) == 4 else 0
        for name, shape in shapes.items():
            wanted = {
                "expert_ids": ids_shape,
                "gate_weights": ids_shape,
                "lookahead_ids": (self.num_tokens, self.num_layers, self.lookahead_distances, self.top_k),
                "token_ids": (self.num_tokens,),
            }[name]
            if shape != wanted or 0 in shape:
                raise TraceError(path, f"{name} has the shape {shape}, but expert_ids {ids_shape} asks for {wanted}")
        self.optional = frozenset(self.tensor_names - set(_REQUIRED))
        self.metadata = _parse_metadata(path, metadata, num_layers=self.num_layers, top_k=self.top_k)
        self._check_sequences()

    def per_sequence(self, name: str) -> "NDArray[Any]":
        """Return a per-sequence tensor."""
        return np.asarray(self._file.get_tensor(name))

    def rows(self, name: str, start: int, stop: int) -> "NDArray[Any]":
        """Read and check rows start..stop of a per-token tensor. Raises TraceError, KeyError."""
        rows: NDArray[Any] = self._slices[name][start:stop]
        if name == "expert_ids":
            check_expert_ids(rows, self.metadata.num_experts, source=self.path, name=name, first_token=start)
        elif name == "lookahead_ids":
            for index in range(min(self.lookahead_distances, self.num_layers - 1)):
                check_expert_ids(
                    rows[:, : self.num_layers - 1 - index, index],
                    self.metadata.num_experts,
                    source=self.path,
                    name=f"{name} at distance {index + 1}",
                    first_token=start,
                )
        elif name == "gate_weights":
            finite = np.isfinite(rows)
            if not finite.all():
                token, layer, rank = (int(index[0]) for index in np.nonzero(~finite))
                raise TraceError(
                    self.path,
                    f"gate_weights: {rows[token, layer, rank]} at token {start + token}, layer {layer}, rank {rank}; "
                    "weights are finite numbers: record the trace again",
                )
        return rows

    def _check_dtypes(self) -> None:
        for name in sorted(self.tensor_names):
            if name not in _DTYPES:
                raise TraceError(self.path, f"tensor {name} is not part of the format; remove it or rename it")
            dtype = self._file.get_slice(name).get_dtype()
            if dtype not in _DTYPES[name]:
                raise TraceError(self.path, f"{name} has the dtype {dtype}; it should be {' or '.join(_DTYPES[name])}")

    def _check_sequences(self) -> None:
        start = self.per_sequence("sequence_start")
        if start.ndim != 1 or len(start) < 2:
            raise TraceError(self.path, f"sequence_start has the shape {start.shape}; it should be [sequences + 1]")
        if start[0] != 0 or start[-1] != self.num_tokens:
            raise TraceError(
                self.path,
                f"sequence_start runs from {start[0]} to {start[-1]}, but expert_ids has tokens 0 to {self.num_tokens}",
            )
        falls = np.nonzero(start[1:] <= start[:-1])[0]  # not np.diff, which overflows
        if len(falls):
            at = int(falls[0])
            raise TraceError(
                self.path,
                f"sequence_start does not ascend: entry {at} is {start[at]}, entry {at + 1} is {start[at + 1]}",
            )
        self.sequence_start = start
        lengths = np.diff(start)
        self.prompt_tokens = self.per_sequence("prompt_tokens")
        self.context_start = (
            self.per_sequence("context_start")
            if "context_start" in self.tensor_names
            else np.zeros(len(lengths), np.int32)
        )
        for name, low, high in (
            ("prompt_tokens", np.zeros_like(lengths), lengths),
            ("context_start", np.zeros_like(lengths), None),
            ("sequence_category", np.zeros_like(lengths), np.full_like(lengths, len(self.metadata.categories) - 1)),
        ):
            if name not in self.tensor_names:
                continue
            values = self.per_sequence(name)
            if values.shape != lengths.shape:
                raise TraceError(
                    self.path, f"{name} has the shape {values.shape}, but there are {len(lengths)} sequences"
                )
            if name == "sequence_category" and not self.metadata.categories:
                raise TraceError(self.path, "sequence_category is there, but metadata categories names none")
            bad = (values < low) | (values > high) if high is not None else values < low
            if bad.any():
                at = int(np.argmax(bad))
                limit = f"0 to {high[at]}" if high is not None else "0 or more"
                raise TraceError(self.path, f"{name} of sequence {at} is {values[at]}; it should be {limit}")


def check_expert_ids(ids: Ids, num_experts: int, *, source: Path, name: str, first_token: int = 0) -> None:
    """Raise TraceError for an id >= num_experts, or one that stands twice in a top-k set. `ids` is [tokens, ..., K]."""
    if not ids.size:
        return
    if int(ids.max()) >= num_experts:
        where = np.argwhere(ids >= num_experts)[0].tolist()
        raise TraceError(
            source,
            f"{name}: expert {int(ids[tuple(where)])} at token {first_token + where[0]}, layer {where[1]}, but the "
            f"trace says num_experts = {num_experts}, so ids end at {num_experts - 1}",
        )
    top_k = ids.shape[-1]
    twice = np.zeros(ids.shape[:-1], dtype=bool)
    if top_k > _PAIRWISE_TOP_K:
        ordered = np.sort(ids, axis=-1)
        twice = (ordered[..., 1:] == ordered[..., :-1]).any(axis=-1)
    else:
        for rank in range(1, top_k):
            for other in range(rank):
                twice |= ids[..., rank] == ids[..., other]
    if twice.any():
        where = np.argwhere(twice)[0].tolist()
        raise TraceError(
            source,
            f"{name}: the top-{top_k} set {ids[tuple(where)].tolist()} at token {first_token + where[0]}, "
            f"layer {where[1]} names an expert twice",
        )


def open_trace(path: str | Path) -> Trace:
    """Open a trace file, or a directory of shards. Raises TraceError, naming the file, the tensor and the reason."""
    path = Path(path)
    try:
        if not path.is_dir():
            return Trace(path, [_Shard(path)])
        index = path / INDEX_NAME
        if not index.exists():
            raise TraceError(path, f"is a directory without {INDEX_NAME}; name a trace file, or a directory of shards")
        return Trace(path, [_Shard(shard) for shard in _shard_paths(index)])
    except OSError as error:
        raise TraceError(path, f"cannot be read: {error.strerror or error}") from None


def write_trace(path: str | Path, sequences: Sequences, metadata: TraceMetadata, *, overwrite: bool = False) -> None:
    """Write one trace file: to a temporary name, checked by reading it back, then renamed.

    Raises TraceError if the sequences do not make a valid trace, if `path` exists and `overwrite` is false, or if it
    cannot be written; what was at `path` before is then still there.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise TraceError(path, _EXISTS)
    if sequences.expert_ids.ndim != 3:
        raise TraceError(
            path, f"expert_ids has the shape {sequences.expert_ids.shape}; it should be [tokens, layers, top_k]"
        )
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as temporary:
            written = Path(temporary) / path.name
            try:
                _save_safetensors(written, sequences.tensors(), _format_metadata(metadata, sequences))
                written.chmod(_READABLE)
                Trace(written, [_Shard(written)]).check()
            except TraceError as error:
                raise TraceError(path, f"not written: {error.fault}") from None
            _rename(written, path, overwrite=overwrite)
    except FileExistsError:
        raise TraceError(path, _EXISTS) from None
    except OSError as error:
        raise TraceError(path, f"cannot be written: {error.strerror or error}") from None


class ShardWriter:
    """Write a trace as a directory of shards, sequence by sequence, so that an interrupted recording stays readable.

    A shard is written whenever `shard_tokens` have gathered; the index is renamed into place after each shard, so from
    the first shard on the directory is a valid trace, a shorter one, at every instant. Use as a context manager:
    leaving it, also by an exception, writes what has gathered.
    """

    def __init__(self, directory: str | Path, metadata: TraceMetadata, *, shard_tokens: int = 1 << 18) -> None:
        self.directory = Path(directory)
        self.metadata = metadata
        self.shard_tokens = shard_tokens
        self._pending: list[Sequences] = []
        self._pending_tokens = 0
        self._shards: list[str] = []
        self._layout: dict[str, tuple[int, ...]] | None = None
        try:
            self.directory.mkdir(parents=True)
        except FileExistsError:
            raise TraceError(self.directory, _EXISTS) from None
        except OSError as error:
            raise TraceError(self.directory, f"cannot be made: {error.strerror}") from None

    def append(self, sequences: Sequences) -> None:
        """Add whole sequences.

        Raises TraceError if they hold other tensors, layers or ranks than those before them, or if a shard that is now
        due is not a valid trace; the sequences of that shard are then lost, those of earlier shards are not.
        """
        layout = {name: tensor.shape[1:] for name, tensor in sequences.tensors().items() if name != "sequence_start"}
        if self._layout is None:
            self._layout = layout
        elif layout != self._layout:
            raise TraceError(
                self.directory,
                f"sequences with {layout} cannot follow sequences with {self._layout}: start another trace",
            )
        self._pending.append(sequences)
        self._pending_tokens += len(sequences.expert_ids)
        if self._pending_tokens >= self.shard_tokens:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered as a shard, and the index. Raises TraceError."""
        if not self._pending:
            return
        gathered = self._pending
        self._pending, self._pending_tokens = [], 0  # first: leaving the context must not write a faulty shard again
        name = f"shard-{len(self._shards):05d}.safetensors"
        write_trace(self.directory / name, concatenate(gathered), self.metadata)
        self._shards.append(name)
        index = {"format_version": FORMAT_VERSION, "shards": self._shards}
        write_text_atomically(self.directory / INDEX_NAME, json.dumps(index, indent=1) + "\n")

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, *exc: object) -> None:
        self.flush()


def concatenate(parts: Sequence[Sequences]) -> Sequences:
    """Join sequences in order. Raises ValueError if one part holds an optional tensor that another lacks."""
    tensors = [part.tensors() for part in parts]
    for tensor in tensors[1:]:
        if tensor.keys() != tensors[0].keys():
            raise ValueError(f"parts hold different tensors: {sorted(tensors[0])} and {sorted(tensor)}")
    joined: dict[str, NDArray[np.generic]] = {
        name: np.concatenate([tensor[name] for tensor in tensors]) for name in tensors[0] if name != "sequence_start"
    }
    lengths = np.concatenate([np.diff(part.sequence_start) for part in parts])
    joined["sequence_start"] = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Sequences(**joined)  # type: ignore[arg-type]


def write_text_atomically(path: Path, text: str) -> None:
    """Write UTF-8 text to a temporary name beside `path` and rename it there. Raises OSError."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(temporary).chmod(_READABLE)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _save_safetensors(path: Path, tensors: Mapping[str, NDArray[np.generic]], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, the same bytes for the same content. Raises OSError, TraceError.

    The library's own writer puts the metadata in another order on every call.
    Source: safetensors, "Format" in its README: 8 bytes of header length, a JSON header, the tensors without gaps.
    """
    names = {dtype.newbyteorder("<"): name for name, dtype in _NUMPY_DTYPES.items()}
    little = {name: np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")) for name, tensor in tensors.items()}
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    offset = 0
    ordered = sorted(little, key=lambda name: (-little[name].itemsize, name))  # so that each is aligned
    for name in ordered:
        tensor = little[name]
        if tensor.dtype not in names:
            raise TraceError(path, f"{name} has the dtype {tensor.dtype}; it should be {' or '.join(_DTYPES[name])}")
        offsets = [offset, offset + tensor.nbytes]
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        offset = offsets[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in ordered:
            file.write(little[name].data)


def _rename(written: Path, path: Path, *, overwrite: bool) -> None:
    """Move a file into place; without `overwrite`, raise FileExistsError if something came there meanwhile."""
    if overwrite:
        written.replace(path)
        return
    try:
        path.hardlink_to(written)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(path) from None
        written.replace(path)


def _open_safetensors(path: Path) -> "safe_open":
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="numpy")
    except FileNotFoundError:
        raise TraceError(path, "no such file; check the path") from None
    except SafetensorError as error:
        reason = str(error).removeprefix("Error while deserializing header: ")
        raise TraceError(
            path, f"is not a whole safetensors file ({reason}); it is truncated or of another kind"
        ) from None


def _shard_paths(index: Path) -> Iterator[Path]:
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        version, names = content["format_version"], content["shards"]
        if not isinstance(names, list):
            raise TypeError
    except (UnicodeDecodeError, ValueError, KeyError, TypeError, RecursionError):
        raise TraceError(index, 'should be JSON: {"format_version": "1", "shards": ["name", ...]}') from None
    if version != FORMAT_VERSION:
        raise TraceError(index, f"format_version is {version!r}; this moesim reads {FORMAT_VERSION!r}")
    if not names:
        raise TraceError(index, "lists no shards; the trace is empty")
    for at, name in enumerate(names):
        if not isinstance(name, str) or PurePath(name).name != name or name in ("", ".", "..") or "\0" in name:
            raise TraceError(index, f"shard {name!r} is not a plain file name in this directory")
        if name in names[:at]:
            raise TraceError(index, f"shard {name!r} is listed twice; its tokens would count twice")
        yield index.parent / name


def _parse_metadata(path: Path, metadata: Mapping[str, str], *, num_layers: int, top_k: int) -> TraceMetadata:
    parsed: dict[str, object] = {}
    for name in ("shape", "banks", "categories"):
        try:
            parsed[name] = json.loads(metadata.get(name, "[]"))
        except (ValueError, RecursionError):
            raise TraceError(path, f"metadata {name} is not JSON: {metadata[name][:80]!r}") from None
    shape, banks, categories = parsed["shape"], parsed["banks"], parsed["categories"]
    if not isinstance(shape, dict):
        raise TraceError(path, "metadata shape is missing; it gives num_layers, num_experts and top_k as JSON")
    for name, found in (("num_layers", num_layers), ("top_k", top_k)):
        if shape.get(name) != found:
            raise TraceError(path, f"metadata shape says {name} = {shape.get(name)!r}, but expert_ids has {found}")
    num_experts = shape.get("num_experts")
    if not isinstance(num_experts, int) or isinstance(num_experts, bool) or not top_k <= num_experts <= _MAX_EXPERTS:
        raise TraceError(
            path, f"metadata shape says num_experts = {num_experts!r}; it should be {top_k} (top-k) to {_MAX_EXPERTS}"
        )
    if not isinstance(banks, list) or not all(type(bank) is int for bank in banks):
        raise TraceError(path, "metadata banks should be a list of whole numbers, one per layer")
    if banks and (len(banks) != num_layers or min(banks) != 0 or len(set(banks)) != max(banks) + 1):
        raise TraceError(
            path, f"metadata banks has {len(banks)} entries for {num_layers} layers, or skips a number from 0 up"
        )
    if not isinstance(categories, list) or not all(isinstance(category, str) for category in categories):
        raise TraceError(path, "metadata categories should be a list of names")
    return TraceMetadata(
        model=metadata.get("model", "unknown"),
        num_experts=num_experts,
        banks=tuple(banks),
        gate=metadata.get("gate", "unknown"),
        captured=metadata.get("captured", "unknown"),
        source=metadata.get("source", "unknown"),
        licence=metadata.get("licence", "unknown"),
        categories=tuple(categories),
        extra={name: value for name, value in sorted(metadata.items()) if name not in _METADATA},
    )


def _format_metadata(metadata: TraceMetadata, sequences: Sequences) -> dict[str, str]:
    taken = sorted(set(metadata.extra) & set(_METADATA))
    if taken:
        raise ValueError(f"extra metadata {', '.join(taken)}: the format uses these names itself")
    _, num_layers, top_k = sequences.expert_ids.shape
    shape = {"num_layers": num_layers, "num_experts": metadata.num_experts, "top_k": top_k}
    return dict(metadata.extra) | {
        "format_version": FORMAT_VERSION,
        "model": metadata.model,
        "shape": json.dumps(shape),
        "banks": json.dumps(metadata.banks),
        "gate": metadata.gate,
        "captured": metadata.captured,
        "source": metadata.source,
        "licence": metadata.licence,
        "categories": json.dumps(metadata.categories),
    }
