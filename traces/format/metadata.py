"""The metadata of a trace file: strings, some of them JSON, checked when read."""

import json
from collections.abc import Mapping
from pathlib import Path

from traces.errors import TraceError
from traces.format.schema import FORMAT_VERSION, METADATA_KEYS, Sequences, TraceMetadata

MAX_EXPERTS = 1 << 16


def parse_metadata(path: Path, metadata: Mapping[str, str], *, num_layers: int, top_k: int) -> TraceMetadata:
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
    if not isinstance(num_experts, int) or isinstance(num_experts, bool) or not top_k <= num_experts <= MAX_EXPERTS:
        raise TraceError(
            path, f"metadata shape says num_experts = {num_experts!r}; it should be {top_k} (top-k) to {MAX_EXPERTS}"
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
        extra={name: value for name, value in sorted(metadata.items()) if name not in METADATA_KEYS},
    )


def format_metadata(metadata: TraceMetadata, sequences: Sequences) -> dict[str, str]:
    taken = sorted(set(metadata.extra) & set(METADATA_KEYS))
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
