"""Systems that know layers and not experts: what crosses the link, and in which order. Times as in `play`."""

from collections.abc import Sequence

import pytest

from tests.systems.play import Token, play

PAGEABLE = {"link.h2d.bandwidth": "12.288 MB/s", "link.d2h.bandwidth": "12.8 MB/s"}
TWO: Sequence[Token] = [[[2, 0], [1, 0]], [[0, 2], [3, 1]]]


def test_accelerate_naive() -> None:
    """Layer 0 is on the GPU; layer 1's experts are called by number and copied as they are, each time anew.

    The second token's E1, in layer 1, is not kept from the first.
    """
    played = play("accelerate-naive", TWO, cache={"experts": 6}, hardware_set=PAGEABLE)
    assert played.keys("fetch") == ["1.0", "1.1", "1.1", "1.3"]
    assert played.keys("run") == ["0.0", "0.2", "1.0", "1.1", "0.0", "0.2", "1.1", "1.3"]
    assert played.log[2:6] == ["fetch 1.0 600-1600", "run 1.0 1600-1700", "fetch 1.1 1600-2600", "run 1.1 2600-2700"]


@pytest.mark.parametrize("system", ["deepspeed-zero-inference", "moe-lightning"])
def test_streaming(system: str) -> None:
    """All four experts of each layer come in turn, in both steps: 16 transfers without a gap, then the last step's 50.

    What is used comes first where it is not under way yet: layer 1's E2 before its E1, at the gate at 4200.
    """
    played = play(system, [[[1], [2]], [[3], [0]]], cache={"experts": 8})
    transfers = played.lines("prefetch", "fetch")
    assert [line.split()[2] for line in transfers[:16]] == [f"{1000 * at}-{1000 * (at + 1)}" for at in range(16)]
    assert played.keys("prefetch", "fetch")[:8] == ["0.0", "0.1", "0.2", "0.3", "1.0", "1.2", "1.1", "1.3"]
    assert played.lines("run")[:2] == ["run 0.1 2000-2100", "run 1.2 6000-6100"]
    assert played.summary["makespan_ns"] == 16_050_000
    assert played.summary["accesses"] == 16
    small = play(system, [[[1], [2]], [[3], [0]]], cache={"experts": 3})
    assert small.summary["accesses"] == 16, "a layer that does not fit is worked through in waves"


def test_a_large_batch_streams_as_much_as_one_sequence() -> None:
    """A layer's weights come once for all that are in the step."""
    sequences: Sequence[Sequence[Token]] = [[[[expert], [expert]]] for expert in range(4)]
    batch = play("moe-lightning", *sequences, cache={"experts": 8}, batch=4)
    one = play("moe-lightning", sequences[0], cache={"experts": 8})
    assert batch.lines("prefetch")[:8] == one.lines("prefetch")[:8]
    assert batch.summary["makespan_ns"] == 1000 * (8000 + 100 + 50)
    assert one.summary["makespan_ns"] == 1000 * (8000 + 50)


def test_vllm_cpu_offload() -> None:
    """Layer 1 is on the GPU. Layer 0's weights are read as the kernel runs, 1000 each of which 100 are the kernel's."""
    played = play("vllm-cpu-offload", TWO, cache={"experts": 4})
    assert played.log[:6] == [
        "fetch 0.2 200-1200",
        "run 0.2 1100-1200",
        "fetch 0.0 1200-2200",
        "run 0.0 2100-2200",
        "run 1.1 2400-2500",
        "run 1.0 2500-2600",
    ]
    assert played.attribution_us["exposed_demand_fetch"] == 4 * 900
    assert (played.summary["experts_read_in_place"], played.summary["misses"]) == (4, 4)
