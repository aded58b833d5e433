"""Write a trace: to a temporary name, checked, then renamed; as one file, or shard by shard while a recording goes."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from traces.errors import TraceError
from traces.format.metadata import format_metadata
from traces.format.reading import open_trace
from traces.format.schema import DTYPES, FORMAT_VERSION, INDEX_NAME, NUMPY_DTYPES, Sequences, TraceMetadata

_READABLE = 0o644  # temporary files are private; what is renamed into place is not
_EXISTS = "exists already; a trace never changes once written: choose another name"


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
                _save_safetensors(written, sequences.tensors(), format_metadata(metadata, sequences))
                written.chmod(_READABLE)
                open_trace(written).check()
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
    names = {dtype.newbyteorder("<"): name for name, dtype in NUMPY_DTYPES.items()}
    little = {name: np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")) for name, tensor in tensors.items()}
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    offset = 0
    ordered = sorted(little, key=lambda name: (-little[name].itemsize, name))  # so that each is aligned
    for name in ordered:
        tensor = little[name]
        if tensor.dtype not in names:
            raise TraceError(path, f"{name} has the dtype {tensor.dtype}; it should be {' or '.join(DTYPES[name])}")
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
