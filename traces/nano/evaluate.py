"""Losses of a model by source of text, its experts' load, and the n-gram losses that it has to beat.

Losses are in nats per token, over the held-out documents of a corpus.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from traces.nano.tokens import SourceTokens, held_out_windows

if TYPE_CHECKING:
    from transformers import Qwen3MoeForCausalLM

_BATCH_WINDOWS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """`loss` by source; `load` [L, E], the share of the routed (token, rank) pairs that each expert took."""

    loss: dict[str, float]
    load_by_source: dict[str, NDArray[np.float64]]

    def mean_loss(self, sources: list[SourceTokens]) -> float:
        """Return the losses' mean, weighted as the sources are in training."""
        return sum(source.share_frac * self.loss[source.name] for source in sources) / _shares(sources)

    def load(self, sources: list[SourceTokens]) -> NDArray[np.float64]:
        """Return the load [L, E] over all sources, weighted as they are in training."""
        weighted = [source.share_frac * self.load_by_source[source.name] for source in sources]
        return np.asarray(sum(weighted[1:], weighted[0]) / _shares(sources))


def evaluate(model: "Qwen3MoeForCausalLM", sources: list[SourceTokens], *, windows: int, length: int) -> Evaluation:
    """Run the model over up to `windows` held-out windows per source."""
    was_training = model.training
    model.eval()
    loss: dict[str, float] = {}
    load: dict[str, NDArray[np.float64]] = {}
    config = model.config
    for source in sources:
        rows = torch.from_numpy(held_out_windows(source, windows=windows, length=length + 1).astype(np.int64))
        total, counts = 0.0, torch.zeros(config.num_hidden_layers, config.num_experts)
        for batch in rows.split(_BATCH_WINDOWS):
            batch = batch.to(model.device)
            with torch.no_grad():
                output = model(input_ids=batch[:, :-1], output_router_logits=True, use_cache=False)
            total += float(next_token_loss(output.logits, batch[:, 1:], reduction="sum"))
            for layer, logits in enumerate(output.router_logits):
                chosen = logits.topk(config.num_experts_per_tok, dim=-1).indices.flatten()
                counts[layer] += torch.bincount(chosen.cpu(), minlength=config.num_experts)
        loss[source.name] = total / (len(rows) * length)
        load[source.name] = (counts / counts.sum(-1, keepdim=True)).double().numpy()
    model.train(was_training)
    return Evaluation(loss=loss, load_by_source=load)


def next_token_loss(logits: torch.Tensor, targets: torch.Tensor, *, reduction: str = "mean") -> torch.Tensor:
    """Return the cross entropy of logits [B, T, V] against targets [B, T]."""
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.reshape(-1), reduction=reduction)


def balance_loss(router_logits: tuple[torch.Tensor, ...], top_k: int) -> torch.Tensor:
    """Return the load-balancing loss of the Switch Transformer, per layer, averaged over layers; 1 is even.

    transformers' own function pools all layers first, so that one layer's idle expert is offset by another layer's
    busy one of the same number.

    Source: Fedus, Zoph, Shazeer: Switch Transformers, JMLR 23 (2022), equations 4 to 6, with top-k in place of top-1.
    """
    losses = []
    for logits in router_logits:
        probabilities = logits.float().softmax(-1)
        num_experts = logits.shape[-1]
        chosen = probabilities.topk(top_k, dim=-1).indices.flatten()
        taken = torch.bincount(chosen, minlength=num_experts) / len(chosen)
        losses.append(num_experts * (taken * probabilities.mean(0)).sum())
    return torch.stack(losses).mean()


def ngram_losses(
    sources: list[SourceTokens], *, vocabulary: int, windows: int, length: int
) -> dict[str, dict[str, float]]:
    """Return the losses by source of a unigram and of a bigram model, fitted on the whole training text.

    Both weight the sources as training does. Unigram: one count added per token of the vocabulary. Bigram:
    Witten-Bell, interpolated with that unigram.

    Source: Chen, Goodman: An empirical study of smoothing techniques for language modeling (1998), section 2.5.
    """
    total = sum(len(source.train) for source in sources)
    unigram = np.ones(vocabulary)
    bigram = np.zeros(vocabulary * vocabulary, np.float32)
    for source in sources:
        weight = source.share_frac / _shares(sources) * total / len(source.train)
        tokens = source.train.astype(np.int64)
        unigram += weight * np.bincount(tokens, minlength=vocabulary)
        pairs, counts = np.unique(tokens[:-1] * vocabulary + tokens[1:], return_counts=True)
        bigram[pairs] += weight * counts
    unigram /= unigram.sum()
    pair_counts = bigram.reshape(vocabulary, vocabulary)
    seen_after = pair_counts.sum(1, dtype=np.float64)
    kinds_after = np.maximum((pair_counts > 0).sum(1), 1)
    losses: dict[str, dict[str, float]] = {"unigram": {}, "bigram": {}}
    for source in sources:
        rows = held_out_windows(source, windows=windows, length=length + 1).astype(np.int64)
        previous, following = rows[:, :-1], rows[:, 1:]
        backoff = unigram[following]
        pair = (pair_counts[previous, following] + kinds_after[previous] * backoff) / (
            seen_after[previous] + kinds_after[previous]
        )
        losses["unigram"][source.name] = float(-np.log(backoff).mean())
        losses["bigram"][source.name] = float(-np.log(pair).mean())
    return losses


def _shares(sources: list[SourceTokens]) -> float:
    return sum(source.share_frac for source in sources)
