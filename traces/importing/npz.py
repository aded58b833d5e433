"""Import numpy's `.npz`: one array per tensor of a trace, by the same name or mapped.

Arrays, T tokens, S sequences, L layers, K top-k, D lookahead distances: `expert_ids` [T, L, K] and, if they are there
or mapped, `gate_weights` [T, L, K], `sequence_start` [S+1] or [S] (without it all tokens are one sequence),
`prompt_tokens` [S], `context_start` [S], `sequence_category` [S] (names or numbers), `lookahead_ids` [T, L, D, K],
`token_ids` [T] (only if mapped: they reveal the prompt), and the scalars `num_experts` and `model`.

Headers are read before arrays, so an array that is absurdly large, or that needs pickle, costs nothing to refuse.
Source: numpy, `numpy.lib.format`, for the header of an array; `numpy.savez` for the archive.
"""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from traces.errors import TraceError
from traces.importing.options import ImportOptions
from traces.importing.recorded import Recorded, keep_layers, require_integers

_TENSORS = (
    "expert_ids",
    "gate_weights",
    "sequence_start",
    "prompt_tokens",
    "context_start",
    "sequence_category",
    "lookahead_ids",
    "token_ids",
    "num_experts",
    "model",
)


def read_npz(path: Path, options: ImportOptions) -> Recorded:
    """Read a `.npz` file. Raises TraceError, OSError."""
    unknown = sorted(options.fields.keys() - set(_TENSORS))
    if unknown:
        raise TraceError(path, f"--map {unknown[0]}=...: an npz can be mapped to {', '.join(_TENSORS)}")
    with _opened(path) as archive:
        return _read(path, archive, options)


def read_arrays(path: Path, max_bytes: int) -> dict[str, NDArray[Any]]:
    """Read all arrays of a `.npz`, `max_bytes` in all. Raises TraceError, OSError."""
    arrays: dict[str, NDArray[Any]] = {}
    with _opened(path) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            with archive.open(info) as file:
                arrays[name] = read_array(path, name, file, info.file_size, max_bytes)
            max_bytes -= arrays[name].nbytes
    return arrays


def read_array(path: Path, name: str, file: IO[bytes], num_bytes: int, max_bytes: int) -> NDArray[Any]:
    """Read one `.npy`, its header first. `num_bytes` is the size of the file. Raises TraceError, OSError."""
    try:
        version = npy.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = npy.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran, dtype = npy.read_array_header_2_0(file)
        else:
            raise ValueError(f"version {version} of the npy format")
    except (ValueError, SyntaxError, RecursionError) as error:
        raise TraceError(path, f"{name} is not a numpy array: {str(error).splitlines()[0][:120]}") from None
    if dtype.hasobject:
        raise TraceError(
            path, f"{name} holds Python objects (pickle), which can run code; save it as numbers, one row per token"
        )
    wanted = dtype.itemsize
    for length in shape:
        wanted *= length
    if wanted > max_bytes:
        raise TraceError(
            path, f"{name} has the shape {shape}, {wanted} bytes, more than the {max_bytes} allowed: raise --max-gib"
        )
    if wanted != num_bytes - file.tell():
        raise TraceError(path, f"{name} should hold {wanted} bytes after its header, not {num_bytes - file.tell()}")
    content = file.read(wanted)
    if len(content) != wanted:
        raise TraceError(path, f"{name} ends after {len(content)} of {wanted} bytes; the file is truncated")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise TraceError(path, f"is not a whole npz file ({error}); it is truncated or of another kind") from None


def _read(path: Path, archive: zipfile.ZipFile, options: ImportOptions) -> Recorded:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    chosen = {
        tensor: options.fields.get(tensor, tensor)
        for tensor in _TENSORS
        if tensor in options.fields or (tensor in members and tensor != "token_ids")
    }
    for tensor, name in chosen.items():
        if name not in members:
            raise TraceError(path, f"--map {tensor}={name}: there is no such array, but {', '.join(members)}")
    if "expert_ids" not in chosen:
        raise TraceError(path, f"has no array expert_ids, but {', '.join(members)}: name it with --map expert_ids=NAME")
    left_bytes = options.max_bytes
    arrays: dict[str, NDArray[Any]] = {}
    for done, (tensor, name) in enumerate(chosen.items()):
        if options.progress:
            options.progress(done, len(chosen))
        with archive.open(members[name]) as file:
            arrays[tensor] = read_array(path, name, file, members[name].file_size, left_bytes)
        left_bytes -= arrays[tensor].nbytes
    return _recorded(path, arrays, chosen, sorted(set(members) - set(chosen.values())), options)


def _recorded(
    path: Path, arrays: dict[str, NDArray[Any]], chosen: dict[str, str], unused: list[str], options: ImportOptions
) -> Recorded:
    def of_tokens(tensor: str, num_axes: int) -> NDArray[Any] | None:
        array = arrays.get(tensor)
        if array is not None and array.ndim != num_axes:
            raise TraceError(path, f"{chosen[tensor]} has the shape {array.shape}; {tensor} has {num_axes} axes")
        return array

    def by_layer(tensor: str, num_axes: int) -> NDArray[Any] | None:
        array = of_tokens(tensor, num_axes)
        return None if array is None else keep_layers(path, array, options.skip_layers)

    ids = by_layer("expert_ids", 3)
    assert ids is not None
    notes = [f"array not imported: {name}" for name in unused]
    if "sequence_start" in arrays:
        lengths = _lengths(path, chosen["sequence_start"], arrays["sequence_start"], len(ids))
    else:
        lengths = np.array([len(ids)], np.int64)
        notes.append("no sequence_start: all tokens are one sequence")
    category = arrays.get("sequence_category")
    model = arrays.get("model")
    num_experts = arrays.get("num_experts")
    if num_experts is not None:
        require_integers(path, chosen["num_experts"], num_experts)
    for tensor in ("model", "num_experts"):
        if tensor in arrays and arrays[tensor].size != 1:
            raise TraceError(path, f"{chosen[tensor]} has the shape {arrays[tensor].shape}; it should be one value")
    return Recorded(
        path=path,
        expert_ids=ids,
        lengths=lengths,
        gate_weights=by_layer("gate_weights", 3),
        prompt_tokens=of_tokens("prompt_tokens", 1),
        context_start=of_tokens("context_start", 1),
        category=None if category is None else _names(path, chosen["sequence_category"], category, len(lengths)),
        lookahead_ids=by_layer("lookahead_ids", 4),
        token_ids=of_tokens("token_ids", 1),
        num_experts=None if num_experts is None else int(num_experts.item()),
        model=None if model is None else str(model.item()),
        notes=tuple(notes),
    )


def _lengths(path: Path, name: str, start: NDArray[Any], num_tokens: int) -> NDArray[np.int64]:
    require_integers(path, name, start)
    if start.ndim != 1 or not len(start) or start[0] != 0:
        raise TraceError(path, f"{name} has the shape {start.shape} and should be offsets that begin with 0")
    if (start < 0).any() or (start > num_tokens).any():
        raise TraceError(path, f"{name} goes up to {start.max()}, but there are {num_tokens} tokens")
    offsets = start.astype(np.int64)
    if offsets[-1] != num_tokens:
        offsets = np.append(offsets, num_tokens)
    lengths = np.diff(offsets)
    if (lengths <= 0).any():
        at = int(np.argmax(lengths <= 0))
        raise TraceError(path, f"{name} does not ascend: entry {at} is {offsets[at]}, entry {at + 1} {offsets[at + 1]}")
    return lengths


def _names(path: Path, name: str, values: NDArray[Any], num_sequences: int) -> list[str]:
    if values.shape != (num_sequences,):
        raise TraceError(path, f"{name} has the shape {values.shape}, but there are {num_sequences} sequences")
    if values.dtype.kind == "S":
        return [value.decode("utf-8", "replace") for value in values.tolist()]
    if values.dtype.kind not in "Uiu":
        raise TraceError(path, f"{name} has the dtype {values.dtype}; it should hold names or whole numbers")
    return [str(value) for value in values.tolist()]
