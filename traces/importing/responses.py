"""Read routed experts as serving engines return them: per request, [tokens, layers, top_k].

An array comes as nested lists, as base64 of a `.npy` file, as base64 of flat little-endian int32 (then the number of
layers and top-k must be given), or as an object of `data` (base64), `shape` and `dtype`. A file holds one array
(`.npy`), one array per request (`.npz`), or responses as JSON: one, a list of them, or one per line.

T tokens, L layers, K top-k; of a request: P prompt tokens, C completion tokens, R rows of routing.
"""

import base64
import binascii
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.errors import TraceError
from traces.importing.npz import read_array, read_arrays
from traces.importing.options import ImportOptions
from traces.importing.recorded import Recorded, keep_layers, require_integers
from traces.importing.text import parse_object, read_json, read_lines, to_array

_DTYPES = ("uint8", "int16", "uint16", "int32", "int64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Routing of one request. `prompt_tokens` of its rows are prompt; None if the file does not tell."""

    expert_ids: NDArray[Any]  # [T, L, K]
    prompt_tokens: int | None = None
    context_start: int = 0
    model: str | None = None


OfResponse = Callable[[Path, str, dict[str, Any], ImportOptions], Iterator[Request]]


def read_requests(path: Path, options: ImportOptions, of_response: OfResponse, *, captured: str) -> Recorded:
    """Read all requests of a file; `of_response` reads one JSON response. Raises TraceError, OSError."""
    if options.fields:
        raise TraceError(path, "--map is for npz, JSON lines and CSV; what an engine returns has fixed names")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        with path.open("rb") as file:
            array = read_array(path, path.name, file, path.stat().st_size, options.max_bytes)
        requests = [Request(expert_ids=array)]
    elif suffix == ".npz":
        requests = [Request(expert_ids=array) for array in read_arrays(path, options.max_bytes).values()]
    else:
        requests = [
            request
            for where, response in _responses(path, options)
            for request in of_response(path, where, response, options)
        ]
    if not requests:
        raise TraceError(path, "holds no routed experts; did the server run with --enable-return-routed-experts?")
    for number, request in enumerate(requests):
        require_integers(path, f"routing of request {number}", request.expert_ids)
        shape, first = request.expert_ids.shape, requests[0].expert_ids.shape
        if len(shape) != 3 or shape[1:] != first[1:] or 0 in shape:
            raise TraceError(
                path,
                f"routing of request {number} has the shape {shape}; it should be [tokens, layers, top_k]"
                + (f", like that of request 0, {first}" if number else ""),
            )
        if (request.prompt_tokens is None) != (requests[0].prompt_tokens is None):
            raise TraceError(path, f"request {number} says how long its prompt is and request 0 does not, or reversely")
    models = list(dict.fromkeys(request.model for request in requests if request.model))
    if len(models) > 1:
        raise TraceError(path, f"holds requests to several models, {', '.join(models)}: import them apart")
    told = requests[0].prompt_tokens is not None
    context = np.array([request.context_start for request in requests])
    return Recorded(
        path=path,
        expert_ids=keep_layers(path, np.concatenate([request.expert_ids for request in requests]), options.skip_layers),
        lengths=np.array([len(request.expert_ids) for request in requests], np.int64),
        prompt_tokens=np.array([request.prompt_tokens for request in requests], np.int64) if told else None,
        context_start=context if told else None,
        model=models[0] if models else None,
        captured=captured,
    )


def decode(path: Path, where: str, value: object, options: ImportOptions) -> NDArray[Any]:
    """Return the array that a field of a response holds, in any of the forms above. Raises TraceError."""
    if isinstance(value, list):
        return to_array(path, where, value, integers=True)
    if isinstance(value, dict):
        shape, dtype = value.get("shape"), value.get("dtype", "int32")
        if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape) or dtype not in _DTYPES:
            raise TraceError(path, f"{where} has the shape {shape!r} and dtype {dtype!r}; dtypes are {_DTYPES}")
        flat = np.frombuffer(_bytes(path, where, value.get("data")), np.dtype(dtype).newbyteorder("<"))
        return _reshaped(path, where, flat, shape)
    content = _bytes(path, where, value)
    if content.startswith(b"\x93NUMPY"):
        return read_array(path, where, io.BytesIO(content), len(content), options.max_bytes)
    if options.num_layers is None or options.top_k is None:
        raise TraceError(path, f"{where} is a flat list of int32: say its shape with --num-layers and --top-k")
    if len(content) % 4:
        raise TraceError(path, f"{where} has {len(content)} bytes, which is no whole number of int32")
    flat = np.frombuffer(content, "<i4")
    row = options.num_layers * options.top_k
    if row <= 0 or len(flat) % row:
        raise TraceError(
            path,
            f"{where} has {len(flat)} ids, which is no multiple of {options.num_layers} layers x {options.top_k}; "
            "engines count dense layers too: check --num-layers and --top-k",
        )
    return _reshaped(path, where, flat, [-1, options.num_layers, options.top_k])


def whole_number(mapping: object, name: str) -> int | None:
    """Return a non-negative whole number of a JSON object, None if it has none of that name."""
    value = mapping.get(name) if isinstance(mapping, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _bytes(path: Path, where: str, value: object) -> bytes:
    if not isinstance(value, str):
        raise TraceError(path, f"{where} is {str(value)[:40]!r}; it should be lists of numbers or base64 text")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise TraceError(path, f"{where} is not base64: {value[:40]!r}") from None


def _reshaped(path: Path, where: str, flat: NDArray[Any], shape: list[int]) -> NDArray[Any]:
    try:
        return flat.reshape(shape)
    except ValueError:
        raise TraceError(path, f"{where} has {len(flat)} ids, which do not make the shape {shape}") from None


def _responses(path: Path, options: ImportOptions) -> Iterator[tuple[str, dict[str, Any]]]:
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        for number, text in read_lines(path, options):
            yield f"line {number}", parse_object(path, number, text)
        return
    content = read_json(path, options)
    for number, response in enumerate(content if isinstance(content, list) else [content]):
        if not isinstance(response, dict):
            raise TraceError(path, f"response {number} should be a JSON object, not {str(response)[:40]!r}")
        yield f"response {number}", response
