"""Hit counts against libCacheSim, an independent simulator: exact integers, single accesses, nothing held.

Its LFU breaks ties as ours, least recently touched first: its list of each frequency is in the order of arrival. Its
LFU with dynamic ageing crashes on such short streams in the release at hand, so `lfu_aged` stands against its
definition alone. Its S3-FIFO lets the main queue fill up first: until the first eviction, a small queue that has its share
leaves new keys to the main one. Ours, as published, does not; so it stands against a transcription, and the
transcription with that one difference against libCacheSim.
"""

from pathlib import Path

import libcachesim
import numpy as np
import pytest

from tests.eviction.single_accesses import num_hits, skewed_stream
from tests.eviction.test_classical import s3fifo

THEIRS = {
    "lru": libcachesim.LRU,
    "fifo": libcachesim.FIFO,
    "lfu": libcachesim.LFU,
    "clock": libcachesim.Clock,
    "sieve": libcachesim.Sieve,
    "arc": libcachesim.ARC,
}


def their_hits(name: str, stream: list[int], num_slots: int) -> int:
    """Count libCacheSim's hits with objects of size 1."""
    cache = {**THEIRS, "s3fifo": libcachesim.S3FIFO}[name](cache_size=num_slots, hashpower=12)
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


@pytest.mark.parametrize("num_slots", [20, 30, 40])
def test_s3fifo_but_for_its_start(num_slots: int) -> None:
    """With the one difference at the start, the transcription that ours is tested by has libCacheSim's hits."""
    for seed in range(3):  # theirs admits nothing where the small queue has a single slot
        stream = skewed_stream(seed, 3000, 64)
        held: set[int] = set()
        hits = 0
        for key, after in zip(stream, s3fifo(stream, num_slots, fills_main_first=True), strict=True):
            hits += key in held
            held = after
        assert hits == their_hits("s3fifo", stream, num_slots)


@pytest.mark.parametrize("name", THEIRS)
def test_recorded_streams_of_all_layers(name: str, shared_data: Path) -> None:
    """The same in one pool for all layers, which is swept through once per token."""
    with np.load(shared_data / "traces" / "gpt-oss-20b_decode.npz") as archive:
        expert_ids = archive["expert_ids"][:300]
    num_layers = expert_ids.shape[1]
    stream = (expert_ids + 32 * np.arange(num_layers)[None, :, None]).ravel().tolist()
    assert num_hits(name, stream, 8 * num_layers) == their_hits(name, stream, 8 * num_layers)
