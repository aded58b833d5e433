"""Make a synthetic trace: draw it, measure it against what it imitates, and record both in its metadata."""

import json
from dataclasses import dataclass, replace

import numpy as np

from traces.format import Sequences, TraceMetadata
from traces.synthesis.distances import Profile, distances, missed, profile
from traces.synthesis.generate import draw_sequences
from traces.synthesis.parameters import Fitted, rounded, to_json

_UNJUDGED_TOKENS = 1 << 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthetic:
    """A synthetic trace with its measured profile, and its distances from the target where there is one.

    `missed` has a line for each bar that is missed, see `traces.synthesis.distances.missed`.
    """

    sequences: Sequences
    metadata: TraceMetadata
    profile: Profile
    distances: dict[str, float | int | None]
    missed: list[str]


def synthesise(fitted: Fitted, *, num_tokens: int, seed: int) -> Synthetic:
    """Draw `num_tokens` tokens and judge them; the same for the same arguments.

    Without a target the profile is that of the front alone, `_UNJUDGED_TOKENS` tokens.
    """
    fitted = rounded(fitted)
    model, target = fitted.model, fitted.profile
    sequences = draw_sequences(model, num_tokens=num_tokens, seed=seed)
    found = profile(sequences if target is not None else _front(sequences), model.num_experts)
    named = {} if target is None else distances(found, target)
    lines = [] if target is None else missed(found, target)
    metadata = TraceMetadata(
        model=fitted.model_name,
        num_experts=model.num_experts,
        banks=fitted.banks,
        gate=fitted.gate,
        captured="not captured: drawn by moesim trace synth",
        source=fitted.origin,
        licence="synthetic; carries no rows of the trace that it imitates",
        extra={
            "synthesis_seed": str(seed),
            "synthesis_parameters": to_json(fitted),
            "synthesis_distances": json.dumps(named),
            "synthesis_missed_bars": json.dumps(lines),
        },
    )
    return Synthetic(sequences=sequences, metadata=metadata, profile=found, distances=named, missed=lines)


def _front(sequences: Sequences) -> Sequences:
    stop = min(_UNJUDGED_TOKENS, len(sequences.expert_ids))
    starts = sequences.sequence_start[sequences.sequence_start < stop]
    return replace(
        sequences, expert_ids=sequences.expert_ids[:stop], sequence_start=np.append(starts, stop).astype(np.int64)
    )
