"""A `RoutingModel` and the profile that it was fitted to as JSON: presets, and the record in a trace's metadata."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any

import numpy as np

from traces.errors import TraceError
from traces.synthesis.distances import Profile
from traces.synthesis.model import Block, RoutingModel

_DIGITS = 3  # of base scores, in standard deviations of the noise


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A model with what it was fitted to: `origin` says of which trace, by whom and under which licence.

    `banks` as in `TraceMetadata`: taken over into what is drawn, although each round is drawn as if it had its own.
    """

    model: RoutingModel
    profile: Profile | None
    model_name: str
    gate: str
    origin: str
    banks: tuple[int, ...] = ()


def to_json(fitted: Fitted) -> str:
    """Return the parameters as JSON, rounded, one line per array of experts."""
    model = fitted.model
    document = {
        "format_version": 1,
        "model_name": fitted.model_name,
        "gate": fitted.gate,
        "origin": fitted.origin,
        "banks": list(fitted.banks),
        "num_experts": model.num_experts,
        "top_k": model.top_k,
        "fitted_tokens": model.fitted_tokens,
        "amplitudes": [round(value, 4) for value in model.amplitudes],
        "affinity": round(model.affinity, 4),
        "companionship": round(model.companionship, 4),
        "strength_L": model.strength_L.round(4).tolist(),
        "gate_rank_means_K": list(model.gate_rank_means_K),
        "gate_spread": model.gate_spread,
        "chain_LE": model.chain_LE.tolist(),
        "blocks": [asdict(block) | {"base_LE": block.base_LE.round(_DIGITS).tolist()} for block in model.blocks],
        "profile": None if fitted.profile is None else _rounded(asdict(fitted.profile)),
    }
    return json.dumps(document, separators=(",", ":"))


def from_json(text: str, source: str) -> Fitted:
    """Return what `to_json` wrote. Raises TraceError, naming `source`, if it is something else."""
    try:
        document = json.loads(text)
        if document["format_version"] != 1:
            raise TraceError(source, f"format_version is {document['format_version']}; this moesim reads 1")
        model = RoutingModel(
            num_experts=document["num_experts"],
            top_k=document["top_k"],
            blocks=tuple(_block(block) for block in document["blocks"]),
            fitted_tokens=document["fitted_tokens"],
            strength_L=np.array(document["strength_L"], np.float64),
            amplitudes=tuple(document["amplitudes"]),
            affinity=document["affinity"],
            companionship=document["companionship"],
            chain_LE=np.array(document["chain_LE"], np.int64),
            gate_rank_means_K=tuple(document["gate_rank_means_K"]),
            gate_spread=document["gate_spread"],
        )
        profile = document["profile"]
        return Fitted(
            model=model,
            profile=None if profile is None else Profile(**{name: _tuple(value) for name, value in profile.items()}),
            model_name=document["model_name"],
            gate=document["gate"],
            origin=document["origin"],
            banks=tuple(document.get("banks", ())),
        )
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, TraceError):
            raise
        raise TraceError(source, f"is not a set of synthesis parameters ({error!r})") from None


def preset_names() -> list[str]:
    """Return the names of the presets that ship."""
    files = resources.files("traces.presets").iterdir()
    return sorted(file.name.removesuffix(".json") for file in files if file.name.endswith(".json"))


def load_preset(name: str) -> Fitted:
    """Return a preset. Raises TraceError, listing the names, if there is none of this name."""
    if name not in preset_names():
        raise TraceError("--preset", f"{name!r} is not one of: {', '.join(preset_names())}")
    return from_json(resources.files("traces.presets").joinpath(f"{name}.json").read_text(encoding="utf-8"), name)


def rounded(fitted: Fitted) -> Fitted:
    """Return the parameters as they are once written, so that a recorded model draws what the fitted one drew."""
    return from_json(to_json(fitted), fitted.model_name)


def _block(fields: Mapping[str, Any]) -> Block:
    return Block(
        base_LE=np.array(fields["base_LE"], np.float64),
        token_frac=fields["token_frac"],
        prefix_tokens=fields["prefix_tokens"],
        suffix_tokens=fields["suffix_tokens"],
        lengths_Q=tuple(fields["lengths_Q"]),
        prompt_frac_Q=tuple(fields["prompt_frac_Q"]),
    )


def _tuple(value: Any) -> Any:  # noqa: ANN401
    return tuple(value) if isinstance(value, list) else value


def _rounded(fields: Mapping[str, Any]) -> dict[str, Any]:
    def shorten(value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, tuple):
            return [shorten(part) for part in value]
        return round(value, 6) if isinstance(value, float) else value

    return {name: shorten(value) for name, value in fields.items()}
