"""Systems that learn from recorded routing: what they make of a training that says one thing clearly. Times as in `play`."""

from collections.abc import Sequence

from tests.systems.play import Token, play

PATHS: Sequence[Token] = [*([[[0], [1]]] * 3), *([[[2], [3]]] * 3)]
"""After E0 comes E1, after E2 comes E3."""


def test_exflow_prefetch() -> None:
    """Layer 0's E0 has E1 of layer 1 brought, which is used; its E2 has E3 brought, which is not."""
    played = play("exflow-prefetch", PATHS, [[[0], [1]], [[2], [1]]], cache={"experts": 4}, fit={"sequences": 1})
    assert played.lines("fetch", "prefetch") == [
        "fetch 0.0 200-1200",
        "prefetch 1.1 1200-2200",
        "fetch 0.2 2550-3550",
        "prefetch 1.3 3550-4000",
    ]
    assert played.lines("run")[-1] == "run 1.1 3850-3950"


def test_edgemoe() -> None:
    """Paths of two layers: (0, 1) leads to E2 and (1, 1) to E3, though layer 1 is the same. Three slots for all layers.

    Reuse over distance at the second token's gate of layer 0: its own E0 .6 / 3, layer 1's E1 1 / 1, layer 2's E2 .6 / 2, so
    E0 goes; E1 is a hit. At layer 1's gate layer 0's E1, .4 / 2, goes for E3.
    """
    training: Sequence[Token] = [*([[[0], [1], [2]]] * 3), *([[[1], [1], [3]]] * 2)]
    played = play("edgemoe", training, [[[0], [1], [2]], [[1], [1], [3]]], cache={"experts": 3}, fit={"sequences": 1})
    assert played.lines("fetch", "prefetch") == [
        "fetch 0.0 200-1200",
        "prefetch 1.1 1200-2200",
        "prefetch 2.2 2200-3200",
        "fetch 0.1 3550-4550",
        "prefetch 2.3 4850-5850",
    ]
    assert played.summary["hits"] == 1


UP: Sequence[Token] = [[[0], [1], [2], [3], [0]]] * 3
DOWN: Sequence[Token] = [[[3], [2], [1], [0], [3]]] * 3


def test_finemoe() -> None:
    """Three layers ahead: from layer 0 on the map that begins alike says what layer 3 will use, and layer 4 after that.

    The second token's first three layers are named at the start, by the map of the token before: they are there, and wrong.
    Its gate of layer 0 finds the other map.
    """
    played = play("finemoe", UP, DOWN, [DOWN[0], UP[0]], cache={"experts": 10}, weights=[1.0], fit={"sequences": 2})
    assert played.lines("prefetch") == [
        "prefetch 3.0 1200-2200",
        "prefetch 4.3 3200-4200",
        "prefetch 3.3 7150-8150",
        "prefetch 4.0 9150-10150",
    ]
    assert played.keys("fetch") == ["0.3", "1.2", "2.1", "0.0", "1.1", "2.2"]
    assert played.prefetches["useful"] == 4


def test_moe_infinity_paper() -> None:
    """The request that began alike names all later layers, the nearest first: a whole path from its first expert on."""
    played = play("moe-infinity-paper", UP, DOWN, [DOWN[0]], cache={"experts": 5}, fit={"sequences": 2})
    assert played.lines("fetch", "prefetch") == [
        "fetch 0.3 200-1200",
        "prefetch 1.2 1200-2200",
        "prefetch 2.1 2200-3200",
        "prefetch 3.0 3200-4200",
        "prefetch 4.3 4200-5200",
    ]
    assert played.summary["late_hits"] == 4


def test_moe_infinity_calls_off_what_has_passed() -> None:
    """Two experts per layer. The request leaves the path that it began: E3 of layer 1 waits when that asks for E0 and E1.

    Layer 0's two come until 2200, then E2 of layer 1, which is on its way at the gate at 2500 and goes on. E3 is called off.
    """
    one, other = [[[0, 1]] * 3] * 3, [[[2, 3]] * 3] * 3
    turned: Sequence[Token] = [[[2, 3], [0, 1], [0, 1]]]
    played = play("moe-infinity-paper", one, other, turned, cache={"experts": 10}, fit={"sequences": 2})
    assert played.lines("prefetch")[0] == "prefetch 1.2 2200-3200"
    assert "1.3" not in played.keys("prefetch")
    assert played.prefetches["cancelled"] >= 1


def test_expertflow_2410_fills_slots_in_the_order_of_the_path() -> None:
    """Two experts per layer and three slots: the first three layers are brought from the start on, the fourth in the first
    slot that comes free, when layer 0 is done.
    """
    token: Token = [[0], [1], [0], [1]]
    played = play("expertflow-2410", [token] * 6, [token], num_experts=2, cache={"experts": 3}, fit={"sequences": 1})
    assert played.lines("fetch", "prefetch") == [
        "prefetch 0.0 0-1000",
        "prefetch 1.1 1000-2000",
        "prefetch 2.0 2000-3000",
        "prefetch 3.1 3000-4000",
    ]


def test_expertflow_2410_regroups_tokens() -> None:
    """Four sequences on two paths, taking turns in the batch: each of two steps takes one path, and loads half as much."""
    sequences: Sequence[Sequence[Token]] = [[[[0], [1]]], [[[2], [3]]], [[[0], [1]]], [[[2], [3]]]]
    played = play("expertflow-2410", PATHS, *sequences, cache={"experts": 4}, fit={"sequences": 1}, batch=4)
    in_order = {"name": "micro_batches", "count": 2}
    cut = play(
        "expertflow-2410", PATHS, *sequences, cache={"experts": 4}, fit={"sequences": 1}, batch=4, batching=in_order
    )
    assert played.keys("run") == ["0.0", "1.1", "0.2", "1.3"]
    assert (played.summary["accesses"], cut.summary["accesses"]) == (4, 8)
