"""Draw routing from a `RoutingModel`.

Limits: beside a block's template, tokens depend on the past of their own sequence alone, through Gaussian scores;
there is no vocabulary, so nothing returns because a word does, and no expert is bursty where another of equal
popularity and layer is steady. Prompt and answer are drawn alike.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from traces.format import Ids, Sequences, expert_id_dtype
from traces.synthesis.model import ERA_SEQUENCES, LASTING_TOKENS, RoutingModel

_CHUNK_TOKENS = 128
_GROUP_SEQUENCES = 256
_CENTRED_SEQUENCES = 8  # fewer are left to chance: scaling would dominate them


def draw_sequences(
    model: RoutingModel, *, num_tokens: int, seed: int, lengths_S: NDArray[np.int64] | None = None
) -> Sequences:
    """Return `num_tokens` tokens of routing, the same for the same arguments.

    `lengths_S` gives the tokens of each sequence (their sum then overrides `num_tokens`); None draws them from the
    blocks' quantiles. Scores, lengths and gate weights have random streams of their own.
    """
    score_seed, length_seed, gate_seed = np.random.SeedSequence(seed).spawn(3)
    rng = np.random.default_rng(length_seed)
    if lengths_S is None:
        lengths_S, block_S = _draw_lengths(model, num_tokens, rng)
    else:
        block_S = _spread_blocks(model, lengths_S)
    start_S = np.concatenate([[0], np.cumsum(lengths_S)]).astype(np.int64)
    prompts = [
        int(length * _quantile(model.blocks[block].prompt_frac_Q, rng.random()))
        for length, block in zip(lengths_S.tolist(), block_S.tolist(), strict=True)
    ]
    ids_TLK = draw_ids(model, start_S, block_S, np.random.default_rng(score_seed))
    return Sequences(
        expert_ids=ids_TLK,
        sequence_start=start_S,
        prompt_tokens=np.array(prompts, np.int32),
        gate_weights=_draw_weights(model, ids_TLK.shape, np.random.default_rng(gate_seed)),
    )


def draw_ids(
    model: RoutingModel, start_S: NDArray[np.int64], block_S: NDArray[np.int64], rng: np.random.Generator
) -> Ids:
    """Return expert ids [T, L, K] by descending score; `start_S` [S+1] offsets, `block_S` [S] each sequence's block."""
    sizes = [block.prefix_tokens + block.suffix_tokens for block in model.blocks]
    with_template = [index for index, tokens in enumerate(sizes) if tokens]
    templates: dict[int, Ids] = {}
    if with_template:
        template_start = np.concatenate([[0], np.cumsum([sizes[index] for index in with_template])])
        drawn = _draw_free_ids(model, template_start, np.array(with_template), rng)
        templates = {
            index: drawn[template_start[at] : template_start[at + 1]] for at, index in enumerate(with_template)
        }
    ids_TLK = _draw_free_ids(model, start_S, block_S, rng)
    for start, end, block in zip(start_S[:-1].tolist(), start_S[1:].tolist(), block_S.tolist(), strict=True):
        if block in templates:
            prefix = min(model.blocks[block].prefix_tokens, end - start)
            suffix = min(model.blocks[block].suffix_tokens, end - start - prefix)
            ids_TLK[start : start + prefix] = templates[block][:prefix]
            ids_TLK[end - suffix : end] = templates[block][sizes[block] - suffix :]
    return ids_TLK


def _draw_free_ids(
    model: RoutingModel, start_S: NDArray[np.int64], block_S: NDArray[np.int64], rng: np.random.Generator
) -> Ids:
    num_experts, top_k = model.num_experts, model.top_k
    dtype = expert_id_dtype(num_experts)
    # Scores are drawn per chain, [L, chain]; an expert's id is looked up once the set is known.
    expert_LC = np.argsort(model.chain_LE, axis=1).astype(dtype)
    ids_TLK = np.empty((int(start_S[-1]), model.num_layers, top_k), np.dtype(dtype))
    layers_L1 = np.arange(model.num_layers)[:, None]
    for first, score_nLC in _scores(model, start_S, block_S, rng):
        top_nLK = np.argpartition(score_nLC, num_experts - top_k, axis=2)[..., num_experts - top_k :]
        order_nLK = np.argsort(-np.take_along_axis(score_nLC, top_nLK, axis=2), axis=2, kind="stable")
        top_nLK = np.take_along_axis(top_nLK, order_nLK, axis=2)
        ids_TLK[first : first + len(top_nLK)] = expert_LC[layers_L1, top_nLK]
    return ids_TLK


def _scores(
    model: RoutingModel, start_S: NDArray[np.int64], block_S: NDArray[np.int64], rng: np.random.Generator
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield (first token, scores float32 [n, L, chains]) for slices of n tokens."""
    shape_LC = model.chain_LE.shape
    *sequence_amplitudes, slow, medium, fast = model.amplitudes
    # x[t] = decay * x[t-1] + gain * white[t] has variance 1; the parts share the white innovations, hence a covariance.
    decay_J = np.exp(-1 / np.array(LASTING_TOKENS))
    gain_J = np.sqrt(1 - decay_J**2)
    covariance_JJ = np.outer(gain_J, gain_J) / (1 - np.outer(decay_J, decay_J))
    amplitude_J = np.array([slow, medium, fast])
    lasting = np.square(sequence_amplitudes).sum() + (np.outer(amplitude_J, amplitude_J) * covariance_JJ).sum()
    variance_L = 1 + 2 * model.strength_L * (amplitude_J * gain_J).sum() + model.strength_L**2 * lasting
    white_L1 = (1 / np.sqrt(variance_L)).astype(np.float32)[:, None]
    scale_L1 = (model.strength_L / np.sqrt(variance_L)).astype(np.float32)[:, None]
    expert_LC = np.argsort(model.chain_LE, axis=1)
    base_BLC = np.stack([np.take_along_axis(block.base_LE, expert_LC, axis=1) for block in model.blocks])
    base_BLC = base_BLC.astype(np.float32)

    num_parts = len(decay_J)
    decay_J11 = decay_J.astype(np.float32)[:, None, None]
    input_JL1 = (amplitude_J * gain_J).astype(np.float32)[:, None, None] * scale_L1
    mixing_JJ = (_lower_root(covariance_JJ) * amplitude_J[:, None]).astype(np.float32)
    num_tokens = int(start_S[-1])
    starts = start_S[:-1].tolist()
    offsets = _offsets(model, start_S, block_S, rng)
    sequence = 0
    state_JLC = np.zeros((num_parts, *shape_LC), np.float32)
    offset_LC = base_BLC[0]
    for first in range(0, num_tokens, _CHUNK_TOKENS):
        noise_nLC = draw_noise(model, min(_CHUNK_TOKENS, num_tokens - first), rng)
        score_nLC = noise_nLC * white_L1
        for at, score_LC in enumerate(score_nLC):
            if sequence < len(starts) and first + at == starts[sequence]:
                offset_LC = base_BLC[block_S[sequence]] + scale_L1 * next(offsets)
                fresh_JLC = draw_noise(model, num_parts, rng)
                state_JLC[:] = 0
                for part in range(num_parts):
                    for source in range(part + 1):
                        state_JLC[part] += mixing_JJ[part, source] * scale_L1 * fresh_JLC[source]
                sequence += 1
            state_JLC *= decay_J11
            state_JLC += input_JL1 * noise_nLC[at]
            score_LC += offset_LC
            for part_LC in state_JLC:
                score_LC += part_LC
        yield first, score_nLC


def _offsets(
    model: RoutingModel, start_S: NDArray[np.int64], block_S: NDArray[np.int64], rng: np.random.Generator
) -> Iterator[NDArray[np.float32]]:
    """Yield each sequence's era and topic, float32 [L, chains].

    In groups of sequences of one block they are shifted and scaled to the mean and variance that they have on average:
    a trace has few sequences, and the luck of their topics would otherwise move its popularity.
    """
    shape_LC = model.chain_LE.shape
    era_amplitude, topic_amplitude = (np.float32(amplitude) for amplitude in model.amplitudes[:2])
    decay = float(np.exp(-1 / ERA_SEQUENCES))
    keep, renew = np.float32(decay), np.float32((1 - decay**2) ** 0.5)
    sd = float(np.hypot(era_amplitude, topic_amplitude))
    era_LC = draw_noise(model, 1, rng)[0]
    lengths_S = np.diff(start_S)
    edges = [0, *(np.nonzero(np.diff(block_S))[0] + 1).tolist(), len(block_S)]
    for left, right in pairwise(edges):
        for group in np.array_split(np.arange(left, right), -(-(right - left) // _GROUP_SEQUENCES)):
            offset_GLC = np.empty((len(group), *shape_LC), np.float32)
            for at in range(len(group)):
                fresh_LC, topic_LC = draw_noise(model, 2, rng)
                era_LC = keep * era_LC + renew * fresh_LC
                offset_GLC[at] = era_amplitude * era_LC + topic_amplitude * topic_LC
            if len(group) >= _CENTRED_SEQUENCES and sd:
                share_G11 = (lengths_S[group] / lengths_S[group].sum()).astype(np.float32)[:, None, None]
                offset_GLC -= (share_G11 * offset_GLC).sum(axis=0)
                offset_GLC *= np.float32(sd) / np.sqrt((share_G11 * offset_GLC**2).sum(axis=0))
            yield from offset_GLC


def _lower_root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Cholesky factor, in plain arithmetic: a linear algebra library's last bit depends on the machine."""
    root = np.zeros_like(covariance)
    for row in range(len(root)):
        for column in range(row + 1):
            rest = covariance[row, column] - (root[row, :column] * root[column, :column]).sum()
            root[row, column] = rest**0.5 if row == column else rest / root[column, column]
    return root


def draw_noise(model: RoutingModel, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return standard Gaussian noise [count, L, chains], correlated along the layers and within groups of chains."""
    num_layers, num_chains = model.chain_LE.shape
    noise = _layered(rng, (count, num_layers, num_chains), model.affinity)
    if model.companionship:
        groups = -(-num_chains // model.top_k)
        common = _layered(rng, (count, num_layers, groups), model.affinity) * np.float32(model.companionship**0.5)
        noise *= np.float32((1 - model.companionship) ** 0.5)
        noise += np.repeat(common, model.top_k, axis=2)[..., :num_chains]
    return noise


def _layered(rng: np.random.Generator, shape: tuple[int, ...], affinity: float) -> NDArray[np.float32]:
    """Return standard Gaussian noise [n, L, chains], autoregressive along the layers."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    if affinity:
        keep, fresh = np.float32(affinity), np.float32((1 - affinity**2) ** 0.5)
        for layer in range(1, shape[1]):
            noise[:, layer] *= fresh
            noise[:, layer] += keep * noise[:, layer - 1]
    return noise


def _draw_lengths(
    model: RoutingModel, num_tokens: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the tokens and the block of each sequence: whole rounds of the blocks, the last of each cut to fit."""
    rounds = max(1, round(num_tokens / model.fitted_tokens)) if len(model.blocks) > 1 else 1
    shares = np.tile([block.token_frac for block in model.blocks], rounds)
    ends = np.round(np.cumsum(shares) / shares.sum() * num_tokens).astype(np.int64).tolist()
    lengths: list[int] = []
    blocks: list[int] = []
    at = 0
    for part, end in enumerate(ends):
        index = part % len(model.blocks)
        while at < end:
            drawn = max(1, round(_quantile(model.blocks[index].lengths_Q, rng.random())))
            lengths.append(min(drawn, end - at))
            blocks.append(index)
            at += lengths[-1]
    return np.array(lengths, np.int64), np.array(blocks, np.int64)


def _spread_blocks(model: RoutingModel, lengths_S: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each sequence's block, in proportion to the blocks' shares of tokens."""
    middle_S = np.cumsum(lengths_S) - lengths_S / 2
    ends = np.cumsum([block.token_frac for block in model.blocks])
    return np.asarray(np.searchsorted(ends / ends[-1], middle_S / lengths_S.sum()))


def _quantile(values_Q: tuple[float, ...] | tuple[int, ...], share: float) -> float:
    return float(np.interp(share, np.linspace(0, 1, len(values_Q)), values_Q))


def _draw_weights(model: RoutingModel, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float16]:
    means_K = np.array(model.gate_rank_means_K, np.float32)
    weights_TLK = np.empty(shape, np.float16)
    for first in range(0, shape[0], _CHUNK_TOKENS):
        part = weights_TLK[first : first + _CHUNK_TOKENS]
        drawn = means_K * np.exp(np.float32(model.gate_spread) * rng.standard_normal(part.shape, dtype=np.float32))
        drawn *= means_K.sum() / drawn.sum(axis=2, keepdims=True)
        part[:] = -np.sort(-drawn, axis=2)
    return weights_TLK
