"""Import a dump of SGLang's expert-distribution recorder in its mode `per_token`.

The dump (`expert_distribution_recorder_*.pt`) is a pickle; converted to JSON (the refusal of the pickle says how) it
has `records`, one per forward pass, and `last_physical_to_logical_map` [layers, physical experts]. A record has
`positions` [tokens], `extend_seq_lens` (tokens of each request of a prefill pass, null in a decode pass) and
`topk_ids_of_layer` [layers, tokens, 8], physical ids, -1 where a layer is dense or top-k below 8.

The recorder keeps no request ids, so requests are told apart by position: a request of a prefill pass that begins at 0
is new; one that begins later continues the request that ended the prefill pass before there (chunked prefill), or else
is a new one whose beginning was cached (`context_start`); a token of a decode pass continues the request that stands
at its position. Where several stand at one position, the earliest is taken, and a note counts such tokens.

Source: sgl-project/sglang, python/sglang/srt/eplb/expert_distribution.py, `_DetailSinglePassGatherer` and
`_DetailAccumulator`.
Limits: modes `per_pass`, `stat` and `stat_approx` count and keep no tokens (see `read_load_matrix`). One rank per
file. Requests at one position may be swapped. Replicas of an expert are mapped as they were at the end.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.errors import TraceError
from traces.importing.options import ImportOptions
from traces.importing.recorded import Recorded
from traces.importing.text import read_json, to_array


def read_sglang_recorder(path: Path, options: ImportOptions) -> Recorded:
    """Read a dump converted to JSON. Raises TraceError, OSError."""
    dump = read_json(path, options)
    records = dump.get("records") if isinstance(dump, dict) else None
    if not isinstance(dump, dict) or not isinstance(records, list) or not records:
        counts = isinstance(dump, dict) and "logical_count" in dump
        raise TraceError(
            path,
            "is a dump of the mode stat, which counts and keeps no tokens: record with "
            "--expert-distribution-recorder-mode per_token"
            if counts
            else "has no records; is it a dump of SGLang's recorder, converted to JSON?",
        )
    requests = _Requests()
    for number, record in enumerate(records):
        if not isinstance(record, dict) or "topk_ids_of_layer" not in record:
            raise TraceError(
                path,
                f"record {number} has no topk_ids_of_layer; only the mode per_token keeps tokens: record with "
                "--expert-distribution-recorder-mode per_token",
            )
        requests.add(path, number, record)
    ids = np.concatenate([np.stack(request.rows) for request in requests.all])
    ids, layers = _logical(path, ids, dump.get("last_physical_to_logical_map"), options)
    prompts = [request.num_prompt for request in requests.all]
    notes = []
    if requests.num_ambiguous:
        notes.append(
            f"{requests.num_ambiguous} tokens were given to the earliest of several requests at their position: "
            "the recorder keeps no request ids"
        )
    return Recorded(
        path=path,
        expert_ids=ids,
        lengths=np.array([len(request.rows) for request in requests.all], np.int64),
        prompt_tokens=np.array(prompts, np.int64),
        context_start=np.array([request.first_position for request in requests.all], np.int64),
        captured="SGLang, expert distribution recorder, per_token",
        extra={"source_layers": ",".join(map(str, layers))},
        notes=tuple(notes),
    )


class _Request:
    def __init__(self, first_position: int) -> None:
        self.first_position = first_position
        self.num_prompt = 0
        self.rows: list[NDArray[Any]] = []  # [layers, 8] each

    def next_position(self) -> int:
        return self.first_position + len(self.rows)

    def decodes(self) -> bool:
        return len(self.rows) > self.num_prompt


class _Requests:
    """All requests in order of appearance, and those that may still continue."""

    def __init__(self) -> None:
        self.all: list[_Request] = []
        self.num_ambiguous = 0
        self._running: list[_Request] = []
        self._chunked: _Request | None = None  # the last request of the prefill pass before

    def add(self, path: Path, number: int, record: dict[str, Any]) -> None:
        where = f"record {number}: "
        ids = to_array(path, where + "topk_ids_of_layer", record["topk_ids_of_layer"], integers=True)
        positions = to_array(path, where + "positions", record.get("positions") or [], integers=True)
        if ids.ndim != 3 or ids.shape[1] != len(positions):
            raise TraceError(path, f"{where}topk_ids_of_layer has the shape {ids.shape}, positions {positions.shape}")
        rows = ids.transpose(1, 0, 2)
        if self.all and rows.shape[1:] != self.all[0].rows[0].shape:
            raise TraceError(path, f"{where}topk_ids_of_layer has the shape {ids.shape}, unlike those before")
        lengths = record.get("extend_seq_lens")
        if lengths is None:
            self._decode(path, where, positions.tolist(), rows)
        else:
            self._prefill(
                path, where, to_array(path, where + "extend_seq_lens", lengths, integers=True), positions, rows
            )

    def _prefill(
        self, path: Path, where: str, lengths: NDArray[Any], positions: NDArray[Any], rows: NDArray[Any]
    ) -> None:
        if lengths.ndim != 1 or (lengths < 0).any() or int(lengths.sum()) != len(rows):
            raise TraceError(
                path, f"{where}extend_seq_lens are {lengths.tolist()[:8]}, but there are {len(rows)} tokens"
            )
        start = 0
        chunked = self._chunked
        for length in lengths.tolist():
            if not length:
                continue
            first = int(positions[start])
            if (np.diff(positions[start : start + length]) != 1).any():
                raise TraceError(path, f"{where}positions of a request are not consecutive from {first}")
            if chunked is not None and first and not chunked.decodes() and chunked.next_position() == first:
                request, chunked = chunked, None
            else:
                request = _Request(first)
                self.all.append(request)
                self._running.append(request)
            request.rows.extend(rows[start : start + length])
            request.num_prompt += length
            self._chunked = request
            start += length

    def _decode(self, path: Path, where: str, positions: list[int], rows: NDArray[Any]) -> None:
        going_on = []
        for position, row in zip(positions, rows, strict=True):
            standing = [request for request in self._running if request.next_position() == position]
            if not standing:
                raise TraceError(
                    path,
                    f"{where}no request stands at position {position}; the recording should begin before its requests",
                )
            self.num_ambiguous += len(standing) > 1
            standing[0].rows.append(row)
            self._running.remove(standing[0])
            going_on.append(standing[0])
        if self._chunked is not None and not self._chunked.decodes():
            going_on.append(self._chunked)  # may be between two chunks of its prompt
        self._running = going_on


def _logical(
    path: Path, ids: NDArray[Any], physical_to_logical: object, options: ImportOptions
) -> tuple[NDArray[Any], list[int]]:
    """Return [T, L, K] logical ids of the layers that route, and the numbers of these layers."""
    routed = (ids >= 0).any(axis=(0, 2))
    layers = [layer for layer in np.nonzero(routed)[0].tolist() if layer not in options.skip_layers]
    ids = ids[:, layers]
    widths = (ids >= 0).sum(axis=2)
    if not layers or widths.min() != widths.max() or (ids[:, :, : int(widths.max())] < 0).any():
        raise TraceError(path, "topk_ids_of_layer: top-k differs between tokens or layers, or no layer routes")
    ids = ids[:, :, : int(widths.max())]
    if physical_to_logical is None:
        return ids, layers
    mapping = to_array(path, "last_physical_to_logical_map", physical_to_logical, integers=True)
    if mapping.ndim != 2 or len(mapping) <= layers[-1] or int(ids.max()) >= mapping.shape[1]:
        raise TraceError(
            path, f"last_physical_to_logical_map has the shape {mapping.shape}; ids go up to {int(ids.max())}"
        )
    return mapping[np.array(layers)[None, :, None], ids], layers
