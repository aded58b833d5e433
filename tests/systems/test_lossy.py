"""Systems that change what is computed: when they do, what it saves and what they say that it costs. Times as in `play`."""

from collections.abc import Sequence

import pytest

from tests.systems.play import Token, play

TRAINED: Sequence[Token] = [*([[[0, 1]]] * 3), [[1, 2]], *([[[2, 3]]] * 2)]
"""E1 is the most popular, then E0; E2's partners are E3 twice and E1 once."""


def test_buddymoe() -> None:
    """E1 and E0 are resident. E2's best buddy, E3, is not; E1, its second, stands in, half as alike as the best.

    Even weights, so the token can bear it; one of two experts missing is below beta. Nothing is waited for.
    """
    settings = {"cache": {"experts": 2}, "weights": [0.5, 0.5], "fit": {"sequences": 1}}
    played = play("buddymoe", TRAINED, [[[0, 2]]], **settings)  # type: ignore[arg-type]
    assert played.log == ["run 0.0 200-300", "run 0.1 300-400"]
    assert played.loss["substituted_mass_frac"] == 0.5
    assert played.loss["unlike_mass_frac"] == 0.25
    on_demand = play("on_demand", TRAINED, [[[0, 2]]], placement="popular", **settings)  # type: ignore[arg-type]
    assert on_demand.attribution_us["exposed_demand_fetch"] == 900
    assert "exposed_demand_fetch" not in played.attribution_us


@pytest.mark.parametrize(
    ("token", "weights"),
    [([2, 3], [0.5, 0.5]), ([0, 2], [0.9, 0.1]), ([0, 3], [0.5, 0.5])],
    ids=["most are missing", "a peaked token", "no buddy is there"],
)
def test_buddymoe_fetches(token: Sequence[int], weights: Sequence[float]) -> None:
    """Where a gate is closed or no buddy of the expert is resident, it is fetched, and nothing is lost."""
    played = play("buddymoe", TRAINED, [[token]], cache={"experts": 2}, weights=weights, fit={"sequences": 1})
    missing = [expert for expert in token if expert in (2, 3)]
    assert played.keys("fetch") == [f"0.{expert}" for expert in missing]
    assert not any(played.loss.values())


def test_smoe() -> None:
    """A missing expert of a tenth of the mass gives way to the resident that its token does not use; one of half is fetched.

    E2 has served 3 tokens, 2 with E3 and 1 with E1, so that E1 in its place is half as alike.
    """
    tokens: Sequence[Token] = [[[0, 1]], [[0, 2]]]
    played = play("smoe", TRAINED, tokens, cache={"experts": 2}, weights=[0.9, 0.1], fit={"sequences": 1})
    assert played.keys("run") == ["0.0", "0.1", "0.0", "0.1"]
    assert played.keys("fetch") == ["0.0", "0.1"], (
        "with no resident to take its place, a weak expert is fetched as well"
    )
    assert played.loss["substituted_mass_frac"] == pytest.approx(0.1 / 2, abs=1e-4)
    assert played.loss["unlike_mass_frac"] == pytest.approx(0.05 / 2, abs=1e-4)
    even = play("smoe", TRAINED, tokens, cache={"experts": 2}, weights=[0.5, 0.5], fit={"sequences": 1})
    assert even.keys("fetch") == ["0.0", "0.1", "0.2"]


def test_swapmoe() -> None:
    """Tokens want E2 and E3, and are served by what is there; after eight steps what they wanted has been brought.

    Three slots hold E1, E0 and E2 at first. For eight steps E3 gives way to E1, the most popular; at the ninth step's
    start the two that have gathered weight are named, and E3 takes the slot of the one used least.
    """
    wants: Sequence[Token] = [[[2, 3]]] * 9
    played = play("swapmoe", TRAINED, wants, cache={"experts": 3}, weights=[0.9, 0.1], fit={"sequences": 1})
    assert played.keys("run")[:4] == ["0.2", "0.1", "0.2", "0.1"]
    assert played.keys("run")[-2:] == ["0.2", "0.3"]
    assert played.lines("prefetch") == ["prefetch 0.3 3600-4600"]
    assert played.summary["misses"] == 0
    assert played.loss["substituted_mass_frac"] == pytest.approx(8 * 0.1 / 9, abs=1e-4)


def test_hobbit() -> None:
    """Shares .65, .3 and .05: the first is fetched, the second, behind .65, comes in 4 bit, the third not at all.

    The second token's E0 is there, its E3 comes in 4 bit. Of the mass .3 is in low precision and .05 is dropped.
    """
    played = play(
        "hobbit",
        [[[0, 1, 2]], [[0, 3, 1]]],
        num_experts=6,
        cache={"experts": 4},
        weights=[0.65, 0.3, 0.05],
        lookahead={"recall": [1.0]},
        low_precision={"format": "4 bit", "frac": 0.25},
    )
    assert played.log == [
        "fetch 0.0 200-1200",
        "run 0.0 1200-1300",
        "fetch 0.1 low 1200-1450",
        "run 0.1 low 1450-1550",
        "run 0.0 1800-1900",
        "fetch 0.3 low 1800-2050",
        "run 0.3 low 2050-2150",
    ]
    assert played.loss["low_precision_mass_frac"] == pytest.approx(0.3, abs=1e-3)
    assert played.loss["dropped_mass_frac"] == pytest.approx(0.05, abs=1e-3)


def test_floe() -> None:
    """Every miss uses the compressed copy, here a quarter of the bytes; the next layer's is prefetched as a copy too.

    Nothing of the training's popularity is resident but what it used, E0 and E1; E2 and E3 come compressed, and stay so.
    """
    played = play(
        "floe",
        [[[0], [1]]],
        [[[2], [3]], [[2], [3]]],
        cache={"experts": 4},
        lookahead={"recall": [1.0]},
        fit={"sequences": 1},
        low_precision={"format": "4 bit", "frac": 0.5},
    )
    assert played.log == [
        "fetch 0.2 low 200-450",
        "run 0.2 low 450-550",
        "prefetch 1.3 low 450-700",
        "run 1.3 low 750-850",
        "run 0.2 low 1100-1200",
        "run 1.3 low 1400-1500",
    ]
    assert played.loss["low_precision_mass_frac"] == 1
    assert played.summary["h2d_low_precision_bytes"] == 2 * 3072
