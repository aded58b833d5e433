"""Systems that differ in what they keep: two layers, one expert per token, fetched on demand. Times as in `play`."""

from collections.abc import Sequence

import pytest

from tests.systems.play import Token, play

RETURNS: Sequence[Token] = [[[0], [0]], [[1], [1]], [[2], [2]], [[0], [0]]]
"""Expert 0 comes back after 1 and 2, in both layers."""
BYTES = 3 * 64 * 32 * 2


def test_on_demand() -> None:
    """Two slots per layer: 2 evicts 0, the least recently used, so that all is fetched: 200 + 1000 + 100, twice, + 50."""
    played = play("on_demand", RETURNS, cache={"experts": 4})
    assert played.log[:4] == ["fetch 0.0 200-1200", "run 0.0 1200-1300", "fetch 1.0 1500-2500", "run 1.0 2500-2600"]
    assert played.lines("fetch")[-2:] == ["fetch 0.0 8150-9150", "fetch 1.0 9450-10450"]
    assert played.attribution_us == {
        "expert_compute": 800,
        "non_expert_compute": 1600,
        "step_compute": 200,
        "exposed_demand_fetch": 8000,
    }
    assert played.summary["d2h_write_back_bytes"] == 0


def test_mixtral_offloading_code() -> None:
    """As on demand, and each of the four evictions is a copy back to the host, 12288 B at 12.8 MB/s, beside the fetch."""
    played = play("mixtral-offloading-code", RETURNS, cache={"experts": 4})
    assert played.lines("fetch", "run") == play("on_demand", RETURNS, cache={"experts": 4}).log
    assert played.lines("back") == [
        "back 0.0 5500-6460",
        "back 1.0 6800-7760",
        "back 0.1 8150-9110",
        "back 1.1 9450-10410",
    ]
    assert played.summary["d2h_write_back_bytes"] == 4 * BYTES


def test_oracle_eviction() -> None:
    """2 evicts 1, which never comes back: the last token finds both its experts."""
    played = play("oracle_eviction", RETURNS, cache={"experts": 4})
    assert played.lines("fetch")[-2:] == ["fetch 0.2 5500-6500", "fetch 1.2 6800-7800"]
    assert played.log[-2:] == ["run 0.0 8150-8250", "run 1.0 8450-8550"]


def test_oracle_bypass() -> None:
    """One slot per layer and two for staging: 1 and 2, which never come back, pass by 0. Belady alone would evict 0."""
    played = play("oracle_bypass", RETURNS, cache={"experts": 4, "staging": 2})
    assert played.summary["misses"] == 6
    assert played.log[-2:] == ["run 0.0 8150-8250", "run 1.0 8450-8550"]
    assert play("oracle_eviction", RETURNS, cache={"experts": 2}).summary["misses"] == 8


def test_oracle_prefetch() -> None:
    """The link is never idle from the start on, as far as two slots per layer let it: 8 transfers, then the last kernel."""
    played = play("oracle_prefetch", RETURNS, cache={"experts": 4})
    assert played.lines("prefetch", "fetch") == [
        f"prefetch {at % 2}.{at // 2 % 3} {1000 * at}-{1000 * (at + 1)}" for at in range(8)
    ]
    assert played.log[-1] == "run 1.0 8000-8100"
    assert played.summary["makespan_ns"] == 8_150_000
    assert played.attribution_us["exposed_late_prefetch"] == 8150 - 800 - 1600 - 200


def test_static() -> None:
    """The most popular of each layer is pinned in two of three slots; the others take turns in the third."""
    played = play("static", [[[0], [0]], [[1], [1]], [[0], [2]], [[0], [1]]], cache={"experts": 3})
    assert played.lines("fetch") == ["fetch 1.0 500-1500", "fetch 0.1 1850-2850", "fetch 1.2 3800-4800"]
    assert played.summary["hits"] == 5


def test_moe_infinity_code() -> None:
    """Three slots for all. The fewest visits go first: layer 1's E1 evicts layer 0's E1, not its E0, used longer ago.

    Visits when layer 1 asks for E1: layer 0 E0 2, layer 1 E0 2, layer 0 E1 1. Then layer 0's E2 evicts that E1 of one visit,
    and so on: the two E0 are never fetched again, and E1 of layer 1 is.
    """
    tokens: Sequence[Token] = [[[0], [0]], [[0], [0]], [[1], [1]], [[2], [0]], [[0], [1]]]
    played = play("moe-infinity-code", tokens, cache={"experts": 3})
    assert played.keys("fetch") == ["0.0", "1.0", "0.1", "1.1", "0.2", "1.1"]
    lru = play("on_demand", tokens, cache={"experts": 3, "scope": "global"})
    assert lru.keys("fetch") == ["0.0", "1.0", "0.1", "1.1", "0.2", "1.0", "0.0", "1.1"]


@pytest.mark.parametrize("seed", range(6))
def test_mark_and_predict(seed: int) -> None:
    """The third token's miss in layer 0 begins a phase; layer 1's E0, which the gate ahead names, is never drawn.

    Without a right prediction it is drawn for some seeds.
    """
    tokens: Sequence[Token] = [[[0], [0]], [[1], [0]], [[2], [0]]]
    foreseen = play("mark_and_predict", tokens, cache={"experts": 3}, lookahead={"recall": [1.0]}, seed=seed)
    assert foreseen.keys("fetch") == ["0.0", "1.0", "0.1", "0.2"]


def test_mark_and_predict_without_foresight() -> None:
    """With predictions that are always wrong, layer 1's E0 is evicted by chance, for some seeds and not for others."""
    tokens: Sequence[Token] = [[[0], [0]], [[1], [0]], [[2], [0]]]
    misses = {
        play("mark_and_predict", tokens, cache={"experts": 3}, lookahead={"recall": [0.0]}, seed=seed).summary["misses"]
        for seed in range(12)
    }
    assert misses == {4, 5}


def test_mark0() -> None:
    """Training says that E0 follows E0 and E2 follows E2, here and in layer 1: those used are expected, and kept.

    Where training says that what was used does not come back, it is dropped as it has been computed, though slots are free.
    """
    stays: Sequence[Token] = [[[0], [1]]] * 3
    kept = play("mark0", stays, [[[0], [1]], [[0], [1]]], cache={"experts": 4}, fit={"sequences": 1})
    assert kept.summary["misses"] == 2
    alternates: Sequence[Token] = [[[0], [1]], [[2], [3]], [[0], [1]], [[2], [3]]]
    dropped = play("mark0", alternates, [[[0], [1]], [[0], [1]]], cache={"experts": 4}, fit={"sequences": 1})
    assert dropped.summary["misses"] == 4
