"""All statistics of a trace under stable names, ready for JSON.

Shares and probabilities are `_frac`, numbers of experts `_experts`, lags and windows `_tokens`. Lists named
`per_layer` have one entry per routing round; every other list runs along the axis named beside it. None stands where a
trace has no sample.
"""

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from traces.format import Sequences
from traces.statistics import (
    affinity,
    coactivation,
    drift,
    gate_concentration,
    locality,
    lookahead_recall,
    miss_ratio,
    popularity,
    templates,
    windows,
)

Json: TypeAlias = int | float | str | list["Json"] | dict[str, "Json"] | None

_REUSE_TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def describe(sequences: Sequences, num_experts: int, *, banks: tuple[int, ...] = ()) -> dict[str, Json]:
    """Return all statistics; `banks` as in `TraceMetadata`, for the caches of the miss-ratio curve."""
    ids_TLK, start_S = sequences.expert_ids, sequences.sequence_start
    num_tokens, num_layers, top_k = ids_TLK.shape
    return {
        "tokens": num_tokens,
        "sequences": len(start_S) - 1,
        "layers": num_layers,
        "top_k": top_k,
        "experts": num_experts,
        "popularity": _popularity(sequences, num_experts),
        "locality": _locality(sequences, num_experts),
        "windows": {
            "tokens": list(windows.WINDOWS),
            "union_experts": _rows(windows.window_unions(ids_TLK, start_S, num_experts)),
        },
        "batches": {
            "sequences": list(windows.BATCHES),
            "union_experts": _rows(windows.batch_unions(ids_TLK, start_S, num_experts)),
        },
        "lru": _lru(sequences, num_experts, banks),
        "affinity": _affinity(sequences, num_experts),
        "coactivation": {
            "best_partner_lift": _layers(
                coactivation.best_partner_lift(coactivation.coactivation_counts(ids_TLK, num_experts))
            )
        },
        "gate": _gate(sequences.gate_weights),
        "lookahead": _lookahead(sequences),
        "drift": _drift(sequences, num_experts),
        "templates": _templates(sequences),
    }


def _popularity(sequences: Sequences, num_experts: int) -> dict[str, Json]:
    counts_LE = popularity.use_counts(sequences.expert_ids, num_experts)
    return {
        "gini": _layers(popularity.gini(counts_LE)),
        "normalised_entropy": _layers(popularity.normalised_entropy(counts_LE)),
        "top_10_percent_share_frac": _layers(popularity.top_share(counts_LE, 0.10)),
        "top_25_percent_share_frac": _layers(popularity.top_share(counts_LE, 0.25)),
        "never_used_experts": int((counts_LE == 0).sum()),
    }


def _locality(sequences: Sequences, num_experts: int) -> dict[str, Json]:
    ids_TLK, start_S = sequences.expert_ids, sequences.sequence_start
    num_tokens, _, top_k = ids_TLK.shape
    share_LE = popularity.use_counts(ids_TLK, num_experts) / num_tokens
    overlap = locality.overlap_by_lag(ids_TLK, start_S)
    reuse = locality.reuse_intervals(ids_TLK, start_S, num_experts).sum(axis=0)
    within = np.cumsum(reuse[1:]) / reuse.sum() if len(reuse) > 1 else np.zeros(0)
    return {
        "lag_tokens": list(locality.LAGS),
        "overlap_experts": _rows(overlap),
        "adjacent_overlap_experts": _layers(overlap[0]),
        "chance_overlap_experts": locality.expected_overlap(num_experts, top_k),
        "independent_overlap_experts": _layers((share_LE**2).sum(axis=1)),
        "reuse_tokens": list(_REUSE_TOKENS),
        "reused_within_frac": [float(within[min(n, len(within)) - 1]) if len(within) else 0.0 for n in _REUSE_TOKENS],
        "first_use_in_sequence_frac": float(reuse[0] / reuse.sum()),
    }


def _lru(sequences: Sequences, num_experts: int, banks: tuple[int, ...]) -> dict[str, Json]:
    rates = miss_ratio.lru_hit_rates(sequences.expert_ids, num_experts, banks)
    return {
        "capacity_experts_per_bank": list(range(1, num_experts + 1)),
        "hit_rate_frac": [float(rate) for rate in rates.mean(axis=0)],
        "hit_rate_per_bank_frac": [[float(rate) for rate in row] for row in rates],
    }


def _affinity(sequences: Sequences, num_experts: int) -> Json:
    if sequences.expert_ids.shape[1] < 2:
        return None
    counts = affinity.transition_counts(sequences.expert_ids, num_experts)
    likeliest = affinity.conditional(counts, sequences.expert_ids.shape[2]).max(axis=2)
    uses = counts.sum(axis=2)
    share = np.where(uses > 0, likeliest, 0)
    return {
        "mutual_information_bits": _layers(affinity.mutual_information_bits(counts)),
        "likeliest_next_frac": _layers((share * uses).sum(axis=1) / uses.sum(axis=1)),
    }


def _gate(weights_TLK: NDArray[np.float16] | None) -> Json:
    if weights_TLK is None:
        return None
    return {
        "rank_share_frac": [float(share) for share in gate_concentration.rank_shares(weights_TLK).mean(axis=0)],
        "effective_experts": _layers(gate_concentration.effective_experts(weights_TLK)),
    }


def _lookahead(sequences: Sequences) -> Json:
    if sequences.lookahead_ids is None:
        return None
    recall = lookahead_recall.lookahead_recall(sequences.expert_ids, sequences.lookahead_ids)
    guessed = [row[~np.isnan(row)] for row in recall]
    return {
        "distance_layers": list(range(1, len(recall) + 1)),
        "recall_frac": [float(row.mean()) if len(row) else None for row in guessed],
    }


def _drift(sequences: Sequences, num_experts: int) -> dict[str, Json]:
    ids_TLK = sequences.expert_ids
    counts = drift.sequence_counts(ids_TLK, sequences.sequence_start, num_experts)
    return {
        "between_halves_distance": _layers(drift.between_halves(ids_TLK, num_experts)),
        "between_shuffled_halves_distance": _layers(drift.between_shuffled_halves(ids_TLK, num_experts)),
        "between_sequences_distance": _layers(drift.between_sequences(counts)),
    }


def _templates(sequences: Sequences) -> dict[str, Json]:
    shared = {
        "shared_leading_tokens_median": templates.shared_tokens(sequences.expert_ids, sequences.sequence_start),
        "shared_trailing_tokens_median": templates.shared_tokens(
            sequences.expert_ids, sequences.sequence_start, from_end=True
        ),
    }
    return {name: float(np.median(tokens)) if len(tokens) else None for name, tokens in shared.items()}


def _layers(values_L: NDArray[np.float64]) -> dict[str, Json]:
    """Return the mean over layers, and each layer's value."""
    return {"mean": _number(values_L.mean()), "per_layer": [_number(value) for value in values_L]}


def _rows(values: NDArray[np.float64]) -> list[Json]:
    """Return each row's mean over layers."""
    return [_number(row.mean()) for row in values]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def at(statistics: Mapping[str, Json], path: str) -> Json:
    """Return the entry at a dotted path, None where a part of it is absent."""
    found: Json = dict(statistics)
    for key in path.split("."):
        if not isinstance(found, dict) or key not in found:
            return None
        found = found[key]
    return found
