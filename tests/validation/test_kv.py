"""The rows of a KV cache: where entries go, what a step attends to, what costs nothing."""

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor

from validation.replay.attention import AttentionShape
from validation.replay.kv import RowCache

CPU = torch.device("cpu")
SHAPE = AttentionShape(num_layers=2, num_heads=3, head_dim=4, dtype=torch.float32)
MAX_CONTEXT = 40


def cache(batch: int = 3, seed: int = 0) -> RowCache:
    return RowCache(SHAPE, batch=batch, max_context=MAX_CONTEXT, torch_device=CPU, seed=seed)


def entries(rows: int, num_tokens: int, value: float) -> Tensor:
    """Return keys of `rows` [rows, G, Q, d] that hold `value`, and a tenth more for each next token."""
    steps = torch.arange(num_tokens)[:, None] / 10
    return (value + steps).expand(rows, SHAPE.num_heads, num_tokens, SHAPE.head_dim)


def store(rows: RowCache, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Update both layers, values being minus the keys; return what the last attends to."""
    for layer in range(SHAPE.num_layers):
        result = rows.update(keys, -keys, layer)
    return result


def test_a_chunk_continues_its_row_and_sees_nothing_of_others() -> None:
    """The first chunk is causal without a mask, the second sees all of the first and its own past."""
    rows = cache()
    assert rows.begin_chunk(1, 0, 3) is None
    keys, values = store(rows, entries(1, 3, 5.0))
    assert keys[0, 0, :, 0].tolist() == pytest.approx([5.0, 5.1, 5.2])
    mask = rows.begin_chunk(1, 3, 2)
    assert mask is not None
    assert (mask[0, 0] == 0).tolist() == [[True] * 4 + [False], [True] * 5]
    assert mask.min() == -torch.inf
    keys, values = store(rows, entries(1, 2, 7.0))
    assert keys[0, 2, :, 3].tolist() == pytest.approx([5.0, 5.1, 5.2, 7.0, 7.1])
    assert torch.equal(values, -keys)
    for tensor in (*rows.keys, *rows.values):
        assert not tensor[[0, 2]].any()
        assert not tensor[1, :, 5:].any()


def test_single_tokens_go_to_their_rows_own_positions() -> None:
    """What the step attends to is as long as its longest row, the rest of each shorter row is masked."""
    rows = cache()
    positions = [2, 0, 18]
    mask = rows.begin_tokens(positions, torch.tensor(positions))
    new = torch.arange(1.0, 4.0)[:, None, None, None].expand(3, SHAPE.num_heads, 1, SHAPE.head_dim)
    keys, values = store(rows, new)
    assert keys.shape == values.shape == (3, SHAPE.num_heads, 19, SHAPE.head_dim)
    assert keys.nonzero()[:, [0, 2]].unique(dim=0).tolist() == [[0, 2], [1, 0], [2, 18]]
    assert torch.equal(keys[[0, 1, 2], :, positions], new[:, :, 0])
    assert mask is not None
    assert mask.shape == (3, 1, 1, 19)
    assert (mask[:, 0, 0] == 0).sum(dim=1).tolist() == [3, 1, 19]
    assert mask[0, 0, 0].tolist() == [0.0] * 3 + [-torch.inf] * 16


def test_rows_of_one_length_and_a_single_row_need_no_mask() -> None:
    rows = cache()
    assert rows.begin_tokens([4, 4], torch.tensor([4, 4])) is None
    assert store(rows, entries(2, 1, 1.0))[0].shape[:3] == (2, SHAPE.num_heads, 5)
    assert rows.begin_tokens([6], torch.tensor([6])) is None
    assert store(rows, entries(1, 1, 1.0))[0].shape[:3] == (1, SHAPE.num_heads, 7)
    assert rows.get_mask_sizes(1, 0) == (7, 0)
    assert rows.get_seq_length() == 6


def test_a_step_attends_to_views_and_masks_have_aligned_rows() -> None:
    """Nothing of the cache is copied; a kernel on CUDA need not copy the mask either."""
    rows = cache()
    mask = rows.begin_tokens([2, 20], torch.tensor([2, 20]))
    keys, values = store(rows, entries(2, 1, 1.0))
    assert keys.data_ptr() == rows.keys[1].data_ptr()
    assert values.data_ptr() == rows.values[1].data_ptr()
    assert mask is not None
    assert mask.stride()[0] % 16 == 0


def test_an_unrecorded_context_is_small_noise_of_the_seed() -> None:
    """In the filled entries alone, the same for the same seed; keys and values differ."""
    rows, same, other = cache(), cache(), cache(seed=1)
    for one in (rows, same, other):
        one.fill(1, 7)
        one.fill(2, 0)
    filled = rows.keys[0][1, :, :7]
    assert filled.all()
    assert filled.abs().max() < 0.2
    assert torch.equal(filled, same.keys[0][1, :, :7])
    assert not torch.equal(filled, other.keys[0][1, :, :7])
    assert not torch.equal(filled, rows.values[0][1, :, :7])
    assert not rows.keys[0][1, :, 7:].any()
    assert not rows.keys[0][[0, 2]].any()


def test_rows_move_together() -> None:
    """A rotation: each row is read before it is overwritten."""
    rows = cache()
    for row in range(3):
        rows.begin_chunk(row, 0, 2)
        store(rows, entries(1, 2, row + 1.0))
    rows.move([(0, 2), (1, 0), (2, 1)], 2)
    for tensor in rows.keys:
        assert tensor[:, 0, 0, 0].tolist() == [3.0, 1.0, 2.0]
    for tensor in rows.values:
        assert tensor[:, 0, 1, 0].tolist() == pytest.approx([-3.1, -1.1, -2.1])
