"""`moesim models`: the models that ship, and what one of them weighs."""

import json as json_module
import sys
from fractions import Fraction

from rich.box import HEAVY_HEAD, SIMPLE
from rich.console import Console
from rich.table import Table

from hardware_profiles.errors import InputError
from hardware_profiles.quantity import format_bytes
from simulator.model import footprint
from simulator.model.load import load_model, model_names
from simulator.model.quantisation import QUANTISATIONS, Quantisation, parse_quantisation
from simulator.model.spec import ModelSpec, attention_kind, moe_layers

_WIDTH_WITHOUT_TERMINAL = 200
_WIDTH_OF_ALL_COLUMNS = 160
_NARROW = ("model", "MoE", "experts", "top-k", "format", "expert", "all experts", "the rest")
_CACHE_BYTES_PER_VALUE = Fraction(2)


def models(name: str | None = None, *, quantisation: str | None = None, json: bool = False) -> None:
    """List the models that ship, or show one in detail.

    Bytes are those of the released formats unless `--quantisation` names another for all weights. A `*` marks a model
    of which some figure has no checked source; its detail names which, and why.

    Parameters
    ----------
    name
        A model that ships, a YAML spec, a Hugging Face config.json, or a folder that holds one; without, all that ship.
    quantisation
        Number format for all weights: a name such as q4_k or mxfp4, or bits per weight such as "4.25 bit".
    json
        Write JSON instead of a table.
    """
    chosen = None
    if quantisation is not None:
        try:
            chosen = parse_quantisation(quantisation)
        except ValueError as error:
            raise InputError("--quantisation", str(error)) from None
    specs = [load_model(name)] if name is not None else [load_model(each) for each in model_names()]
    width = None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL
    console = Console(width=width, markup=False, emoji=False, highlight=False)
    if json:
        summaries = [_summary(spec, chosen) for spec in specs]
        console.print_json(json_module.dumps(summaries if name is None else summaries[0]))
    elif name is None:
        console.print(_overview(specs, chosen, is_narrow=console.width < _WIDTH_OF_ALL_COLUMNS))
    else:
        console.print(_detail(specs[0], chosen))


def _summary(spec: ModelSpec, quantisation: Quantisation | None) -> dict[str, object]:
    """Return a model's figures, units in the keys."""
    experts = quantisation or parse_quantisation(spec.expert_quantisation)
    rest = quantisation or parse_quantisation(spec.rest_quantisation)
    return {
        "name": spec.name,
        "released_as": spec.released_as,
        "num_layers": spec.num_layers,
        "num_moe_layers": len(moe_layers(spec)),
        "num_experts": spec.num_experts,
        "top_k": spec.top_k,
        "num_shared_experts": spec.num_shared_experts,
        "expert_quantisation": experts.name,
        "rest_quantisation": rest.name,
        "params_per_expert": footprint.params_per_expert(spec),
        "expert_bytes": footprint.expert_bytes(spec, experts),
        "expert_bf16_bytes": footprint.expert_bytes(spec, QUANTISATIONS["bf16"]),
        "all_experts_bytes": footprint.all_experts_bytes(spec, experts),
        "non_expert_bytes": footprint.non_expert_bytes(spec, quantisation),
        "total_params": footprint.total_params(spec),
        "active_params": footprint.active_params(spec),
        "kv_cache_bf16_bytes_per_token": sum(
            footprint.kv_bytes_per_token(spec, layer, _CACHE_BYTES_PER_VALUE) for layer in range(spec.num_layers)
        ),
        "unverified": list(spec.unverified),
        "limits": list(spec.limits),
        "source": spec.source,
    }


def _overview(specs: list[ModelSpec], quantisation: Quantisation | None, *, is_narrow: bool) -> Table:
    """Lay out one row per model; where the terminal is narrow, what fits into 80 columns."""
    rows = [_overview_row(spec, quantisation) for spec in specs]
    headings = [heading for heading in rows[0] if not is_narrow or heading in _NARROW]
    table = Table(
        caption="* some figures have no checked source: moesim models <name>",
        caption_justify="left",
        box=SIMPLE if is_narrow else HEAVY_HEAD,
        padding=(0, 0) if is_narrow else (0, 1),
    )
    for heading in headings:
        is_text = heading in ("model", "format", "unverified")
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=heading != "unverified")
    for row in rows:
        table.add_row(*(row[heading] for heading in headings))
    return table


def _overview_row(spec: ModelSpec, quantisation: Quantisation | None) -> dict[str, str]:
    experts = quantisation or parse_quantisation(spec.expert_quantisation)
    return {
        "model": spec.name + ("*" if spec.unverified else ""),
        "layers": str(spec.num_layers),
        "MoE": str(len(moe_layers(spec))),
        "experts": str(spec.num_experts),
        "top-k": str(spec.top_k),
        "shared": str(spec.num_shared_experts),
        "format": experts.name,
        "expert": format_bytes(footprint.expert_bytes(spec, experts)),
        "expert bf16": format_bytes(footprint.expert_bytes(spec, QUANTISATIONS["bf16"])),
        "all experts": format_bytes(footprint.all_experts_bytes(spec, experts)),
        "the rest": format_bytes(footprint.non_expert_bytes(spec, quantisation)),
        "total": _billions(footprint.total_params(spec)),
        "active": _billions(footprint.active_params(spec)),
        "unverified": ", ".join(_unverified_fields(spec)) or "-",
    }


def _detail(spec: ModelSpec, quantisation: Quantisation | None) -> Table:
    experts = quantisation or parse_quantisation(spec.expert_quantisation)
    rest = quantisation or parse_quantisation(spec.rest_quantisation)
    moe = moe_layers(spec)
    per_token = sum(
        footprint.kv_bytes_per_token(spec, layer, _CACHE_BYTES_PER_VALUE) for layer in range(spec.num_layers)
    )
    state = sum(footprint.state_bytes(spec, layer, _CACHE_BYTES_PER_VALUE) for layer in range(spec.num_layers))
    expert_bytes = footprint.expert_bytes(spec, experts)
    rows = {
        "released as": spec.released_as or "-",
        "layers": f"{spec.num_layers}, of which MoE: {_ranges(moe)}",
        "experts": f"{spec.num_experts} per MoE layer, top-{spec.top_k}, {spec.num_shared_experts} shared",
        "widths": f"hidden {spec.hidden_size}, expert {spec.expert_intermediate_size} "
        f"({spec.expert_matrices} matrices), shared {spec.shared_expert_intermediate_size}, "
        f"dense {spec.dense_intermediate_size}",
        "attention": _attention(spec),
        "one expert": f"{footprint.params_per_expert(spec):,} parameters, {expert_bytes:,} B in {experts.name} "
        f"({float(experts.bits_per_weight):.6g} bit per weight)",
        "one expert in bf16": f"{footprint.expert_bytes(spec, QUANTISATIONS['bf16']):,} B",
        "experts of one token": f"{format_bytes(expert_bytes * spec.top_k * len(moe))} over all layers",
        "all experts": f"{footprint.num_routed_experts(spec):,} experts, "
        f"{format_bytes(footprint.all_experts_bytes(spec, experts))}",
        "the rest": f"{_billions(footprint.non_expert_params(spec))} parameters, "
        f"{format_bytes(footprint.non_expert_bytes(spec, quantisation))} ({rest.name})",
        "parameters": f"{footprint.total_params(spec):,} total, {footprint.active_params(spec):,} active",
        "KV cache in bf16": f"{per_token:,} B per token" + (f", {state:,} B of state per sequence" if state else ""),
        "source": spec.source,
        "unverified": "\n".join(spec.unverified) or "none",
        "limits": "\n".join(spec.limits) or "none beyond those of docs/models.md",
    }
    table = Table(title=spec.name, show_header=False, title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column()
    for heading, text in rows.items():
        table.add_row(heading, text)
    return table


def _attention(spec: ModelSpec) -> str:
    if spec.kv_lora_rank:
        shape = f"MLA: {spec.num_heads} heads, latent {spec.kv_lora_rank} + {spec.qk_rope_head_dim} rotary"
    else:
        shape = f"{spec.num_heads} heads, {spec.num_kv_heads} KV heads of {spec.head_dim}"
    kinds = [attention_kind(spec, layer) for layer in range(spec.num_layers)]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    window = f", window {spec.attention_window}" if spec.attention_window else ""
    return f"{shape}; layers: {counts}{window}"


def _unverified_fields(spec: ModelSpec) -> list[str]:
    return [entry.partition(": ")[0] for entry in spec.unverified]


def _billions(num_params: int) -> str:
    return f"{num_params / 1e9:.4g} B"


def _ranges(layers: tuple[int, ...]) -> str:
    """Write ascending indices shortly: `3-60 (58)`, or one by one where they leave gaps."""
    if layers == tuple(range(layers[0], layers[-1] + 1)):
        return f"{layers[0]}-{layers[-1]} ({len(layers)})"
    return f"{', '.join(map(str, layers))} ({len(layers)})"
