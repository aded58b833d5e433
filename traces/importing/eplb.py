"""Read load matrices, [layers, experts] counts of tokens, as balancers of expert parallelism take them.

They are aggregates: how often each expert was chosen, not by which token or when. No trace can be made of one, but a
synthetic trace can be given its popularity.

A matrix comes as `.npy` or `.npz` [L, E] or, summed over steps, [steps, L, E]; as CSV of L lines of E numbers; or as
JSON: lists of lists, objects of layer and expert numbers (`{"0": {"0": 12, ...}, ...}`), SGLang's `logical_count`
[steps, L, E] (recorder mode `stat`), or its `records` of `global_physical_count` with `last_physical_to_logical_map`
(mode `per_pass`).

Source: deepseek-ai/EPLB, eplb.py, `rebalance_experts`, for the matrix; sgl-project/sglang,
python/sglang/srt/eplb/expert_distribution.py, for the dumps; Ascend/MindSpeed-RL, docs/features/EPLB.md, for objects.
Limits: moving averages (fractions) are refused; scale them to counts.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.errors import TraceError
from traces.importing.npz import read_array, read_arrays
from traces.importing.options import ImportOptions
from traces.importing.pickled import refuse_pickle
from traces.importing.recorded import Recorded
from traces.importing.text import read_json, read_lines, to_array, to_float, to_int


def read_eplb(path: Path, options: ImportOptions) -> Recorded:
    """Raise TraceError: a load matrix is no trace; the message says what it is."""
    loads = read_load_matrix(path, options)
    raise TraceError(
        path,
        f"is a load matrix of {loads.shape[0]} layers and {loads.shape[1]} experts ({int(loads.sum())} selections): "
        "it tells how popular each expert is, not which token chose it, so no trace can be made of it; "
        "traces.importing.read_load_matrix reads it, for a synthetic trace of that popularity",
    )


def read_load_matrix(path: Path, options: ImportOptions | None = None) -> NDArray[np.int64]:
    """Return tokens per layer and expert, int64 [L, E]. Raises TraceError."""
    options = options or ImportOptions()
    try:
        refuse_pickle(path)
        loads = _read(path, options)
    except OSError as error:
        raise TraceError(path, f"cannot be read: {error.strerror or error}") from None
    if loads.ndim == 3:
        loads = loads.sum(axis=0)
    if loads.ndim != 2 or 0 in loads.shape:
        raise TraceError(path, f"holds an array of shape {loads.shape}; a load matrix is [layers, experts]")
    bad = ~((loads >= 0) & (loads < float(1 << 62)) & (loads == np.floor(loads)))
    if bad.any():
        layer, expert = np.argwhere(bad)[0].tolist()
        raise TraceError(
            path, f"load of layer {layer}, expert {expert} is {loads[layer, expert]}; loads are counts of tokens"
        )
    if not loads.any():
        raise TraceError(path, "holds no loads: all are 0")
    return loads.astype(np.int64)


def _read(path: Path, options: ImportOptions) -> NDArray[Any]:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        with path.open("rb") as file:
            return _numbers(path, read_array(path, path.name, file, path.stat().st_size, options.max_bytes))
    if suffix == ".npz":
        arrays = read_arrays(path, options.max_bytes)
        if len(arrays) != 1:
            raise TraceError(path, f"holds {len(arrays)} arrays, {', '.join(arrays)}; a load matrix is one")
        return _numbers(path, *arrays.values())
    if suffix == ".csv":
        rows = [
            [to_float(path, f"line {number}", cell) for cell in text.split(",")]
            for number, text in read_lines(path, options)
        ]
        return to_array(path, "the table", rows, integers=False)
    return _of_json(path, read_json(path, options))


def _numbers(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind not in "iuf":
        raise TraceError(path, f"holds {array.dtype}; loads are counts of tokens")
    return array


def _of_json(path: Path, content: object) -> NDArray[Any]:
    if isinstance(content, list):
        return to_array(path, "the matrix", content, integers=False)
    if not isinstance(content, dict):
        raise TraceError(path, "should be a load matrix as JSON: lists of lists, or objects by layer and expert")
    if "logical_count" in content:
        return to_array(path, "logical_count", content["logical_count"], integers=False)
    if "records" in content:
        return _of_records(path, content)
    loads: dict[int, dict[int, float]] = {}
    for layer, of_layer in content.items():
        if not isinstance(of_layer, dict):
            raise TraceError(path, f"{layer!r} is no layer with loads by expert")
        loads[to_int(path, "a layer", layer)] = {
            to_int(path, f"an expert of layer {layer}", expert): to_float(path, f"layer {layer}, expert {expert}", load)
            for expert, load in of_layer.items()
        }
    layers = sorted(loads)
    num_experts = 1 + max((expert for of_layer in loads.values() for expert in of_layer), default=-1)
    lowest = min((expert for of_layer in loads.values() for expert in of_layer), default=0)
    if lowest < 0 or num_experts > 1 << 16:
        raise TraceError(path, f"experts go from {lowest} to {num_experts - 1}; they should be 0 to 65535")
    return np.array([[loads[layer].get(expert, 0.0) for expert in range(num_experts)] for layer in layers])


def _of_records(path: Path, content: dict[str, Any]) -> NDArray[Any]:
    mapping = to_array(path, "last_physical_to_logical_map", content.get("last_physical_to_logical_map"), integers=True)
    records = content["records"]
    if mapping.ndim != 2 or not mapping.size or mapping.min() < 0 or not isinstance(records, list):
        raise TraceError(path, f"last_physical_to_logical_map has the shape {mapping.shape}, or records are no list")
    loads = np.zeros((len(mapping), int(mapping.max()) + 1), np.int64)
    for number, record in enumerate(records):
        counts = record.get("global_physical_count") if isinstance(record, dict) else None
        physical = to_array(path, f"record {number}: global_physical_count", counts, integers=True)
        if physical.shape != mapping.shape:
            raise TraceError(
                path,
                f"record {number}: global_physical_count has the shape {physical.shape}, the map {mapping.shape}",
            )
        np.add.at(loads, (np.arange(len(mapping))[:, None], mapping), physical)
    return loads
