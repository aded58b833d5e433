"""Fit a `RoutingModel` to a trace.

Five fits, one after the other, because the model keeps them apart (see `traces.synthesis.model`):
1. blocks: cut the trace where successive sequences stop sharing their leading tokens; what they share is the template;
2. companions: group the experts of the first layer that meet most above chance, let each next layer follow by its
   transitions, and bisect for the share of variance with which independent draws choose together as the trace does;
3. popularity: correct the base scores until independent draws show the popularity of each block outside its template;
4. recency: the amplitudes by damped least squares (Levenberg, 1944; Marquardt, 1963) with numerical slopes on hit
   rates, overlaps and unions, and between its first steps the strength of each layer by its overlaps;
5. affinity: bisect for the coefficient with which adjacent layers share the mutual information of the trace.
All draws within a fit use one seed, so that differences between parameters are not drowned by chance.

Limits: recency is fitted on about `_FIT_TOKENS` tokens in whole sequences, evenly spread. Companions are groups of K,
disjoint; real ones overlap. The topics' own contribution to choosing together is counted twice.
"""

from collections.abc import Callable
from dataclasses import replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from traces.format import Ids, Sequences
from traces.statistics import coactivation
from traces.statistics.affinity import mutual_information_bits, transition_counts
from traces.statistics.locality import overlap_by_lag
from traces.statistics.miss_ratio import lru_hit_rates
from traces.statistics.popularity import use_counts
from traces.statistics.templates import shared_tokens
from traces.statistics.windows import window_unions
from traces.synthesis.distances import LAGS, WINDOWS, judged_capacities
from traces.synthesis.generate import draw_ids
from traces.synthesis.model import PARTS, Block, RoutingModel

_FIT_TOKENS = 25_000
_FIT_LAYERS = 8
_COARSE_STEPS = 8
_FINE_STEPS = 3
_STRENGTH_STEPS = 2  # the first steps correct the layers' strengths too
_GUIDE_WEIGHT = 0.1  # of overlaps beyond the next token, for which there is no bar
_MIN_BLOCK_SEQUENCES = 8
_QUANTILES = 33
_DRAWS = (4_000,) * 6 + (16_000,) * 4
_FEW_DRAWS = (4_000,) * 4
_STRENGTH_LAGS = (1, 8, 32)
_SEED = 0


def fit(sequences: Sequences, num_experts: int, *, report: Callable[[str], None] = lambda _: None) -> RoutingModel:
    """Return the model whose draws look like `sequences`. `report` is told what is being fitted.

    The trace needs at least a few hundred tokens for the fit to mean something; any size is accepted.
    """
    ids_TLK, start_S = sequences.expert_ids, sequences.sequence_start
    num_tokens, num_layers, top_k = ids_TLK.shape
    report("blocks, companions and popularity")
    block_S, templates = find_blocks(ids_TLK, start_S)
    chain_LE = _fit_chains(ids_TLK, num_experts)
    companionship = _fit_companionship(ids_TLK, chain_LE, num_experts)
    blocks = [
        _fit_block(sequences, chain_LE, companionship, np.nonzero(block_S == index)[0], *templates[index])
        for index in range(len(templates))
    ]
    gate_means_K, gate_spread = _fit_gate(sequences)
    model = RoutingModel(
        num_experts=num_experts,
        top_k=top_k,
        blocks=tuple(blocks),
        fitted_tokens=num_tokens,
        strength_L=np.ones(num_layers),
        amplitudes=(0.3, 0.6, 0.3, 0.3, 0.5),
        affinity=0.0,
        companionship=companionship,
        chain_LE=chain_LE,
        gate_rank_means_K=gate_means_K,
        gate_spread=gate_spread,
    )
    if num_experts > top_k and num_tokens > 1:
        model = _fit_recency(model, ids_TLK, start_S, block_S, report)
        if num_layers > 1:
            report("affinity between layers")
            model = _fit_affinity(model, ids_TLK, start_S, block_S)
    return model


def find_blocks(ids_TLK: Ids, start_S: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[tuple[int, int]]]:
    """Return each sequence's block [S], and each block's (prefix, suffix) tokens.

    A block ends where two neighbours share less than half as many leading tokens as the block's sequences do; a trace
    whose sequences mostly share no more than their first token is one block without a template.
    """
    num_sequences = len(start_S) - 1
    whole = np.zeros(num_sequences, np.int64), [(0, 0)]
    if num_sequences < _MIN_BLOCK_SEQUENCES:
        return whole
    prefix_S = shared_tokens(ids_TLK, start_S)
    if np.median(prefix_S) < 2:
        return whole
    suffix_S = shared_tokens(ids_TLK, start_S, from_end=True)
    block_S = np.zeros(num_sequences, np.int64)
    shared: list[list[int]] = [[]]
    for sequence, tokens in enumerate(prefix_S.tolist(), start=1):
        if shared[-1] and tokens < max(2.0, float(np.median(prefix_S[shared[-1]])) / 2):
            shared.append([])
        else:
            shared[-1].append(sequence - 1)
        block_S[sequence] = len(shared) - 1
    if num_sequences < _MIN_BLOCK_SEQUENCES * len(shared):
        return whole
    return block_S, [
        (int(np.median(prefix_S[pairs])), int(np.median(suffix_S[pairs]))) if pairs else (0, 0) for pairs in shared
    ]


def _fit_block(
    sequences: Sequences,
    chain_LE: NDArray[np.int64],
    companionship: float,
    members: NDArray[np.int64],
    prefix: int,
    suffix: int,
) -> Block:
    num_experts = chain_LE.shape[1]
    start_S = sequences.sequence_start
    lengths = np.diff(start_S)[members]
    free = np.concatenate(
        [np.arange(start_S[one] + prefix, start_S[one + 1] - suffix) for one in members.tolist()]
    ).astype(np.int64)
    if not len(free):
        free = np.arange(start_S[members[0]], start_S[members[-1] + 1])
    ids_nLK = sequences.expert_ids[free]
    popularity_LE = np.stack(
        [np.bincount(ids_nLK[:, layer].ravel(), minlength=num_experts) for layer in range(ids_nLK.shape[1])]
    ) / len(free)
    quantiles = np.linspace(0, 1, _QUANTILES)
    prompt_frac = sequences.prompt_tokens[members] / lengths
    return Block(
        base_LE=fit_base(popularity_LE, ids_nLK.shape[2], len(free), chain_LE, companionship),
        token_frac=float(lengths.sum() / start_S[-1]),
        prefix_tokens=prefix,
        suffix_tokens=suffix,
        lengths_Q=tuple(np.quantile(lengths, quantiles).round().astype(int).tolist()),
        prompt_frac_Q=tuple(np.quantile(prompt_frac, quantiles).round(4).tolist()),
    )


def fit_base(
    popularity_LE: NDArray[np.float64],
    top_k: int,
    num_tokens: int,
    chain_LE: NDArray[np.int64],
    companionship: float = 0.0,
    *,
    draws: tuple[int, ...] = _DRAWS,
) -> NDArray[np.float64]:
    """Return base scores [L, E] whose noisy top-k shows the popularity, the share of tokens that use each expert.

    Popularities are kept at least half a use in `num_tokens` away from 0 and 1; each of `draws` corrects the scores
    by as many draws.
    """
    num_layers, num_experts = popularity_LE.shape
    if top_k == num_experts:
        return np.zeros_like(popularity_LE)
    probit = np.vectorize(NormalDist().inv_cdf, otypes=[float])
    margin = min(0.5 / num_tokens, 0.1)
    wanted_LE = probit(popularity_LE.clip(margin, 1 - margin))
    base_LE = wanted_LE.copy()
    rng = np.random.default_rng(_SEED)
    for count in draws:
        found_LE = np.empty_like(base_LE)
        for layer in range(num_layers):
            top = _independent(base_LE[layer], chain_LE[layer], companionship, top_k, count, rng)
            found_LE[layer] = np.bincount(top.ravel(), minlength=num_experts) / count
        low = max(margin, 0.5 / count)
        # An expert rarer than the draws can show is wanted, and found, at their resolution.
        step = probit(found_LE.clip(low, 1 - low)) - np.maximum(wanted_LE, probit(np.array(low)))
        base_LE -= 0.9 * step
        base_LE -= base_LE.mean(axis=1, keepdims=True)
    return np.asarray(base_LE)


def _independent(
    base_E: NDArray[np.float64],
    chain_E: NDArray[np.int64],
    companionship: float,
    top_k: int,
    draws: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Return the sets of independent tokens at one layer, [draws, K], in no order."""
    num_experts = len(base_E)
    score = rng.standard_normal((draws, num_experts), dtype=np.float32)
    if companionship:
        common = rng.standard_normal((draws, -(-num_experts // top_k)), dtype=np.float32)
        score *= np.float32((1 - companionship) ** 0.5)
        score += np.float32(companionship**0.5) * common[:, chain_E // top_k]
    score += base_E.astype(np.float32)
    return np.argpartition(score, num_experts - top_k, axis=1)[:, num_experts - top_k :]


def _fit_companionship(ids_TLK: Ids, chain_LE: NDArray[np.int64], num_experts: int) -> float:
    """Return the share of variance in groups that makes independent draws choose together as much as the trace does."""
    num_tokens, num_layers, top_k = ids_TLK.shape
    if top_k == 1 or num_experts <= top_k:
        return 0.0
    layers = np.unique(np.linspace(0, num_layers - 1, min(4, num_layers)).round().astype(int))
    few_TLK = ids_TLK[:: -(-num_tokens // _FIT_TOKENS), layers]
    num_tokens = len(few_TLK)
    popularity_LE = use_counts(few_TLK, num_experts) / num_tokens
    wanted = _together(few_TLK, num_experts)
    low, high = 0.0, 0.95
    for _ in range(6):
        share = (low + high) / 2
        base_LE = fit_base(popularity_LE, top_k, num_tokens, chain_LE[layers], share, draws=_FEW_DRAWS)
        rng = np.random.default_rng(_SEED)
        drawn = [
            _independent(base_E, chain_E, share, top_k, num_tokens, rng)
            for base_E, chain_E in zip(base_LE, chain_LE[layers], strict=True)
        ]
        if _together(_as_ids(np.stack(drawn, axis=1), num_experts), num_experts) < wanted:
            low = share
        else:
            high = share
    return low


def _as_ids(values: NDArray[np.int64], num_experts: int) -> Ids:
    return values.astype(np.uint8) if num_experts <= 256 else values.astype(np.uint16)


def _together(ids_TLK: Ids, num_experts: int) -> float:
    return float(coactivation.mutual_information_bits(coactivation.coactivation_counts(ids_TLK, num_experts)).mean())


def _fit_chains(ids_TLK: Ids, num_experts: int) -> NDArray[np.int64]:
    """Return chains [L, E]: groups of experts that meet most above chance, then partners within the groups."""
    num_layers, top_k = ids_TLK.shape[1:]
    group_C = np.arange(num_experts) // top_k
    chain_LE = np.empty((num_layers, num_experts), np.int64)
    together = _above_chance(coactivation.coactivation_counts(ids_TLK[:, :1], num_experts)[0], diagonal=False)
    chain_LE[0] = _cluster(together, top_k)
    for layer, counts in enumerate(transition_counts(ids_TLK, num_experts), start=1):
        above_EE = _above_chance(counts, diagonal=True)
        expert_C = np.argsort(chain_LE[layer - 1])
        by_group_GE = np.add.reduceat(above_EE[expert_C], np.arange(0, num_experts, top_k), axis=0)
        group_E = group_C[_pair(np.repeat(by_group_GE, top_k, axis=0)[:num_experts])]
        for group in range(group_C[-1] + 1):
            chains = np.nonzero(group_C == group)[0]
            members = np.nonzero(group_E == group)[0]
            chain_LE[layer, members] = chains[_pair(above_EE[np.ix_(expert_C[chains], members)])]
    return chain_LE


def _above_chance(counts_EE: NDArray[np.int64], *, diagonal: bool) -> NDArray[np.float64]:
    counts = counts_EE if diagonal else counts_EE * ~np.eye(len(counts_EE), dtype=bool)
    joint = counts / max(1, counts.sum())
    return np.asarray(joint - joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True))


def _cluster(together_EE: NDArray[np.float64], group_experts: int) -> NDArray[np.int64]:
    """Return each expert's chain: groups are filled one by one with whoever meets the members most."""
    chain_E = np.full(len(together_EE), -1, np.int64)
    attraction_E = together_EE.max(axis=1)
    for chain in range(len(together_EE)):
        if chain % group_experts == 0:
            attraction_E = together_EE.max(axis=1).copy()
        best = int(np.argmax(np.where(chain_E < 0, attraction_E, -np.inf)))
        chain_E[best] = chain
        attraction_E = together_EE[best] + (0 if chain % group_experts == 0 else attraction_E)
    return chain_E


def _fit_recency(
    model: RoutingModel,
    ids_TLK: Ids,
    start_S: NDArray[np.int64],
    block_S: NDArray[np.int64],
    report: Callable[[str], None],
) -> RoutingModel:
    kept = _evenly(len(block_S), start_S, _FIT_TOKENS)
    ids_TLK, start_S, block_S = _select(ids_TLK, start_S, block_S, kept)
    overlap_L = _excess(ids_TLK, start_S)
    every = np.arange(model.num_layers)
    phases = [(every, _COARSE_STEPS)]
    if model.num_layers > 3 * _FIT_LAYERS // 2:
        few = np.unique(np.linspace(0, model.num_layers - 1, _FIT_LAYERS).round().astype(int))
        phases = [(few, _COARSE_STEPS), (every, _FINE_STEPS)]
    for layers, steps in phases:
        report(f"recency on {len(layers)} of {model.num_layers} layers")
        model = _descend(model, ids_TLK[:, layers], start_S, block_S, layers, overlap_L, steps)
    return model


def _descend(
    model: RoutingModel,
    ids_TLK: Ids,
    start_S: NDArray[np.int64],
    block_S: NDArray[np.int64],
    layers: NDArray[np.int64],
    overlap_L: NDArray[np.float64],
    steps: int,
) -> RoutingModel:
    """Fit the amplitudes to the curves of `layers`, whose ids are given; the strength of all layers to `overlap_L`."""
    wanted = _curves(ids_TLK, start_S, model.num_experts)
    weights = _weights(wanted, model.num_experts)

    def residuals(candidate: RoutingModel) -> NDArray[np.float64]:
        drawn = draw_ids(_of_layers(candidate, layers), start_S, block_S, np.random.default_rng(_SEED))
        return np.nan_to_num((_curves(drawn, start_S, model.num_experts) - wanted) * weights)  # NaN: no sample

    now, damping = residuals(model), 0.01
    for step in range(steps):
        if step < _STRENGTH_STEPS:
            model = _fit_strength(model, overlap_L, start_S, block_S, rounds=3 if step == 0 else 1)
            now = residuals(model)
        amplitudes = np.array(model.amplitudes)
        widths = 0.05 + 0.05 * amplitudes
        slopes = np.stack(
            [
                (residuals(replace(model, amplitudes=tuple(amplitudes + width * unit))) - now) / width
                for width, unit in zip(widths, np.eye(len(PARTS)), strict=True)
            ]
        )
        normal = slopes @ slopes.T
        for _ in range(4):
            move = -np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-9), slopes @ now)
            trial = replace(model, amplitudes=tuple((amplitudes + move.clip(-0.5, 0.5)).clip(0, 6).tolist()))
            then = residuals(trial)
            if then @ then < now @ now:
                model, damping = trial, damping / 4
                gain, now = 1 - float(then @ then) / float(now @ now), then
                break
            damping = 10 * max(damping, 1e-3)
        else:
            break
        if step >= _STRENGTH_STEPS and gain < 0.03:
            break
    return model


def _curves(ids_TLK: Ids, start_S: NDArray[np.int64], num_experts: int) -> NDArray[np.float64]:
    hits_E = lru_hit_rates(ids_TLK, num_experts).mean(axis=0)
    capacities = judged_capacities(num_experts)
    return np.concatenate(
        [
            hits_E[capacities.start - 1 : capacities.stop - 1],
            overlap_by_lag(ids_TLK, start_S, LAGS).mean(axis=1),
            window_unions(ids_TLK, start_S, num_experts, WINDOWS).mean(axis=1),
        ]
    )


def _weights(wanted: NDArray[np.float64], num_experts: int) -> NDArray[np.float64]:
    """Return what makes a residual 1: hit rates off by 3 points throughout, a union or overlap off by 5 %."""
    num_capacities = len(judged_capacities(num_experts))
    weights = np.full(len(wanted), np.nan)
    weights[:num_capacities] = 1 / (0.03 * np.sqrt(num_capacities))
    relative = wanted[num_capacities:]
    weights[num_capacities:] = 1 / (0.05 * np.maximum(relative, 1e-9))
    weights[num_capacities + 1 : num_capacities + len(LAGS)] *= _GUIDE_WEIGHT
    return np.where(np.isnan(wanted), 0.0, weights)


def _fit_strength(
    model: RoutingModel,
    wanted_L: NDArray[np.float64],
    start_S: NDArray[np.int64],
    block_S: NDArray[np.int64],
    *,
    rounds: int,
) -> RoutingModel:
    """Correct each layer's strength by its overlaps, and return them with the geometric mean 1."""
    kept = _evenly(len(block_S), start_S, _FIT_TOKENS // 3)
    starts = np.concatenate([[0], np.cumsum(np.diff(start_S)[kept])]).astype(np.int64)
    strength_L = model.strength_L
    for _ in range(rounds):
        found_L = _excess(draw_ids(model, starts, block_S[kept], np.random.default_rng(_SEED)), starts)
        strength_L = (strength_L * (wanted_L / found_L).clip(0.5, 2) ** 0.6).clip(0.05, 8)
        model = replace(model, strength_L=strength_L)
    mean = float(np.exp(np.log(strength_L).mean()))
    amplitudes = tuple(amplitude * mean for amplitude in model.amplitudes)
    return replace(model, strength_L=strength_L / mean, amplitudes=amplitudes)


def _excess(ids_TLK: Ids, start_S: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how far each layer's overlaps exceed those of independent tokens of its popularity, at least 0.02, [L]."""
    num_tokens, num_layers, _ = ids_TLK.shape
    independent_L = np.array(
        [((np.bincount(ids_TLK[:, layer].ravel()) / num_tokens) ** 2).sum() for layer in range(num_layers)]
    )
    overlap = overlap_by_lag(ids_TLK, start_S, _STRENGTH_LAGS)
    overlap = overlap[~np.isnan(overlap).any(axis=1)]
    if not len(overlap):
        return np.ones(num_layers)
    return np.asarray(np.maximum(overlap.mean(axis=0) - independent_L, 0.02))


def _fit_affinity(
    model: RoutingModel, ids_TLK: Ids, start_S: NDArray[np.int64], block_S: NDArray[np.int64]
) -> RoutingModel:
    kept = _evenly(len(block_S), start_S, _FIT_TOKENS // 3)
    ids_TLK, start_S, block_S = _select(ids_TLK, start_S, block_S, kept)
    layers = np.arange(min(_FIT_LAYERS, model.num_layers))
    middle = (model.num_layers - len(layers)) // 2
    few = _of_layers(model, layers + middle)
    wanted = mutual_information_bits(transition_counts(ids_TLK[:, layers + middle], model.num_experts)).mean()
    low, high = 0.0, 0.98
    for _ in range(8):
        affinity = (low + high) / 2
        drawn = draw_ids(replace(few, affinity=affinity), start_S, block_S, np.random.default_rng(_SEED))
        if mutual_information_bits(transition_counts(drawn, model.num_experts)).mean() < wanted:
            low = affinity
        else:
            high = affinity
    return replace(model, affinity=(low + high) / 2)


def _pair(above_EE: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return for each column its row, one to one, taking the largest entries first."""
    num_experts = len(above_EE)
    row_of = np.full(num_experts, -1, np.int64)
    taken = np.zeros(num_experts, bool)
    for flat in np.argsort(-above_EE, axis=None, kind="stable").tolist():
        row, column = divmod(flat, num_experts)
        if not taken[row] and row_of[column] < 0:
            taken[row] = True
            row_of[column] = row
    return row_of


def _fit_gate(sequences: Sequences) -> tuple[tuple[float, ...], float]:
    weights_TLK = sequences.gate_weights
    top_k = sequences.expert_ids.shape[2]
    if weights_TLK is None:
        return (1.0 / top_k,) * top_k, 0.0
    sample = weights_TLK[:: max(1, len(weights_TLK) // 4096)].astype(np.float64)
    means_K = sample.mean(axis=(0, 1))
    spread = float(np.log(np.maximum(sample, 1e-6)).std(axis=(0, 1)).mean())
    return tuple(means_K.round(5).tolist()), round(spread, 3)


def _evenly(num_sequences: int, start_S: NDArray[np.int64], num_tokens: int) -> NDArray[np.int64]:
    """Return sequences, evenly spread, that hold about `num_tokens` tokens."""
    share = min(1.0, num_tokens / int(start_S[-1]))
    return np.unique(np.linspace(0, num_sequences - 1, max(1, round(share * num_sequences))).round().astype(np.int64))


def _select(
    ids_TLK: Ids, start_S: NDArray[np.int64], block_S: NDArray[np.int64], kept: NDArray[np.int64]
) -> tuple[Ids, NDArray[np.int64], NDArray[np.int64]]:
    tokens = np.concatenate([np.arange(start_S[one], start_S[one + 1]) for one in kept.tolist()])
    starts = np.concatenate([[0], np.cumsum(np.diff(start_S)[kept])]).astype(np.int64)
    return ids_TLK[tokens], starts, block_S[kept]


def _of_layers(model: RoutingModel, layers: NDArray[np.int64]) -> RoutingModel:
    return replace(
        model,
        blocks=tuple(replace(block, base_LE=block.base_LE[layers]) for block in model.blocks),
        strength_L=model.strength_L[layers],
        chain_LE=model.chain_LE[layers],
    )
