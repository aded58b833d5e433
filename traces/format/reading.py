"""Open a trace: headers and per-sequence tensors at once, per-token tensors in checked slices of the mapped file."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from traces.errors import TraceError
from traces.format.metadata import parse_metadata
from traces.format.schema import DTYPES, FORMAT_VERSION, INDEX_NAME, PER_TOKEN, REQUIRED, Ids, Sequences

if TYPE_CHECKING:
    from safetensors import safe_open

_PAIRWISE_TOP_K = 12  # up to here comparing all pairs is faster than sorting
CHECKED_TOKENS = 4096  # per slice of a full check: a few MB of the largest models


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
            for start in range(0, shard.num_tokens, CHECKED_TOKENS):
                stop = min(start + CHECKED_TOKENS, shard.num_tokens)
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
        for name in REQUIRED:
            if name not in self.tensor_names:
                raise TraceError(path, f"tensor {name} is missing; is it a routing trace?")
        self._check_dtypes()
        self._slices = {name: self._file.get_slice(name) for name in self.tensor_names & set(PER_TOKEN)}
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
        self.optional = frozenset(self.tensor_names - set(REQUIRED))
        self.metadata = parse_metadata(path, metadata, num_layers=self.num_layers, top_k=self.top_k)
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
            if name not in DTYPES:
                raise TraceError(self.path, f"tensor {name} is not part of the format; remove it or rename it")
            dtype = self._file.get_slice(name).get_dtype()
            if dtype not in DTYPES[name]:
                raise TraceError(self.path, f"{name} has the dtype {dtype}; it should be {' or '.join(DTYPES[name])}")

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
