"""The load-balancing loss, and the n-gram losses that a trained model is compared with."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from traces.nano.evaluate import balance_loss, ngram_losses  # noqa: E402
from traces.nano.tokens import SourceTokens, draw_windows, held_out_windows  # noqa: E402


def _source(tokens: list[int], *, share_frac: float = 1.0) -> SourceTokens:
    array = np.array(tokens, np.uint16)
    return SourceTokens(name="demo", share_frac=share_frac, train=array, held_out=array)


def test_the_balance_loss_of_even_routing_is_one() -> None:
    """Each expert is picked by one token in four, so the loss is 1 whatever the logits' scale."""
    logits = 3.0 * torch.eye(4)
    assert balance_loss((logits, logits), 1).item() == pytest.approx(1.0)


def test_the_balance_loss_is_per_layer() -> None:
    """Two layers that each use one expert are not even because they use different ones."""
    first, second = torch.full((8, 4), -9.0), torch.full((8, 4), -9.0)
    first[:, 0] = second[:, 3] = 9.0
    assert balance_loss((first, second), 1).item() == pytest.approx(4.0, rel=1e-3)


def test_a_bigram_knows_a_cycle_and_a_unigram_does_not() -> None:
    """In 0 1 2 3 0 1 2 3 ... the next token is certain given the last, and one of four without it."""
    losses = ngram_losses([_source([0, 1, 2, 3] * 500)], vocabulary=4, windows=4, length=16)
    assert losses["unigram"]["demo"] == pytest.approx(np.log(4), rel=1e-3)
    assert losses["bigram"]["demo"] < 0.01


def test_the_same_seed_draws_the_same_windows() -> None:
    """A resumed training sees the windows of an uninterrupted one; another step sees others."""
    sources = [_source(list(range(500))), _source(list(range(500, 1000)))]
    first, again, later = (draw_windows(sources, windows=8, length=17, seed=(0, step)) for step in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, later)
    assert (np.diff(first.astype(int), axis=1) == 1).all()


def test_held_out_windows_do_not_overlap() -> None:
    """They are spread over the tokens; fewer come back where fewer fit."""
    windows = held_out_windows(_source(list(range(100))), windows=8, length=20)
    assert windows[:, 0].tolist() == [0, 20, 40, 60, 80]
    assert held_out_windows(_source(list(range(100))), windows=2, length=20)[:, 0].tolist() == [0, 80]
