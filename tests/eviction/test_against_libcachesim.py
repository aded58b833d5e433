"""Hit counts against libCacheSim, an independent simulator: exact integers, single accesses, nothing held.

Its LFU breaks ties as ours, least recently touched first: its list of each frequency is in the order of arrival. Its
LFU with dynamic ageing crashes on such short streams in the release at hand, so `lfu_aged` stands against its
definition alone.
"""

from pathlib import Path

import libcachesim
import numpy as np
import pytest

from tests.eviction.single_accesses import num_hits, skewed_stream

THEIRS = {"lru": libcachesim.LRU, "fifo": libcachesim.FIFO, "lfu": libcachesim.LFU}


def their_hits(name: str, stream: list[int], num_slots: int) -> int:
    """Count libCacheSim's hits with objects of size 1."""
    cache = THEIRS[name](cache_size=num_slots, hashpower=12)
    request = libcachesim.Request()
    request.obj_size = 1
    hits = 0
    for key in stream:
        request.obj_id = key
        hits += cache.get(request)
    return hits


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("num_slots", [2, 3, 8, 16, 31])
def test_random_streams(name: str, num_slots: int) -> None:
    """On three skewed random streams over 32 keys the hits are the same."""
    for seed in range(3):
        stream = skewed_stream(seed, 4000, 32)
        hits = num_hits(name, stream, num_slots)
        assert hits == their_hits(name, stream, num_slots)
        assert 0 < hits < len(stream)


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("num_slots", [8, 16])
def test_recorded_streams(name: str, num_slots: int, shared_data: Path) -> None:
    """On what gpt-oss-20b's gates chose, layer by layer, token by token, by descending weight, the hits are the same."""
    with np.load(shared_data / "traces" / "gpt-oss-20b_decode.npz") as archive:
        expert_ids = archive["expert_ids"][:1500]
    for layer in range(expert_ids.shape[1]):
        stream = expert_ids[:, layer].ravel().tolist()
        assert num_hits(name, stream, num_slots) == their_hits(name, stream, num_slots), f"layer {layer}"
