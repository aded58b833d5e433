"""Systems that apply the gates ahead to the state of now. Gates never err here, or always. Times as in `play`."""

from collections.abc import Sequence

import pytest

from tests.systems.play import Token, play

RIGHT = {"recall": [1.0]}
WRONG = {"recall": [0.0]}


def test_mixtral_offloading_paper() -> None:
    """A wrong guess costs the link's time, evicts nothing, and stays in its staging slot for the next token.

    Two experts per layer, so that a wrong guess is the other one. At 200 layer 0 fetches E0, and layer 1's E1 is staged
    behind it: layer 1 waits 700 for that, then for its E0. The second token's E1 is found where it was staged.
    """
    played = play(
        "mixtral-offloading-paper",
        [[[0], [0]], [[0], [1]]],
        num_experts=2,
        cache={"experts": 6},
        lookahead=WRONG,
    )
    assert played.log == [
        "fetch 0.0 200-1200",
        "run 0.0 1200-1300",
        "prefetch 1.1 1200-2200",
        "fetch 1.0 2200-3200",
        "run 1.0 3200-3300",
        "run 0.0 3550-3650",
        "run 1.1 3850-3950",
    ]
    assert played.attribution_us["queued_behind_prefetch"] == 700
    assert (played.prefetches["issued"], played.prefetches["useful"]) == (1, 1)


def test_a_right_guess_takes_the_place_of_the_least_recently_used() -> None:
    """One slot per layer, four for staging. Each of layer 1's experts is staged, and on its use evicts the one before.

    E0 of layer 1, used by token 0, has lost its slot to E1, which was in staging before: token 2 asks for E0 anew.
    """
    played = play(
        "mixtral-offloading-paper", [[[0], [0]], [[0], [1]], [[0], [0]]], cache={"experts": 6}, lookahead=RIGHT
    )
    assert played.lines("prefetch", "fetch") == [
        "fetch 0.0 200-1200",
        "prefetch 1.0 1200-2200",
        "prefetch 1.1 2550-3550",
        "prefetch 1.0 3900-4900",
    ]
    assert played.summary["late_hits"] == 3


FIT: Sequence[Token] = [[[0, 1], [1, 0]], [[2, 3], [2, 3]]]


def test_adapmoe_paper() -> None:
    """Three tiles: one arrives every 333, its third of the kernel takes 33, so that 33 are left when the last has come.

    An expert that comes at 1200 is done at 1233; each that is waited for costs 67 less than as a whole. Equal weights: none
    is skipped. Layer 0's gate has both of layer 1's experts prefetched.
    """
    played = play(
        "adapmoe-paper", FIT, FIT, fit={"sequences": 1}, cache={"experts": 8}, weights=[0.5, 0.5], lookahead=RIGHT
    )
    assert played.log[:8] == [
        "fetch 0.0 200-1200",
        "run 0.0 1133.33-1233.33",
        "fetch 0.1 1200-2200",
        "run 0.1 2133.33-2233.33",
        "prefetch 1.1 2200-3200",
        "run 1.1 3133.33-3233.33",
        "prefetch 1.0 3200-4200",
        "run 1.0 4133.33-4233.33",
    ]
    assert played.loss["dropped_picks"] == 0


def test_adapmoe_skips_weak_experts() -> None:
    """A second share of .1 is skipped where .1 ** 2 is below the threshold; the prefetched expert is then not used.

    Calibrated on equal weights it cannot tell a quarter of them from the others, and drops none, as above.
    """
    token: Sequence[Token] = [[[0, 1], [1, 0]]]
    threshold = {"name": "skip", "skip_share": 0.0, "threshold": 0.02}
    played = play("adapmoe-paper", token, cache={"experts": 8}, weights=[0.9, 0.1], lookahead=RIGHT, miss=threshold)
    assert played.keys("run") == ["0.0", "1.1"]
    assert played.loss["dropped_mass_frac"] == pytest.approx(0.1, abs=1e-3)
    assert played.loss["dropped_picks"] == 2


def test_adapmoe_code() -> None:
    """Of layer 1's two predicted experts the first alone is prefetched, into staging; the second is fetched at its gate."""
    played = play(
        "adapmoe-code", FIT, FIT, fit={"sequences": 1}, cache={"experts": 14}, weights=[0.5, 0.5], lookahead=RIGHT
    )
    assert played.lines("prefetch", "fetch")[2:4] == ["prefetch 1.1 2200-3200", "fetch 1.0 3200-4200"]
    two = [[[0, 1], [1, 0]]], [[[0, 1], [1, 0]]], [[[2, 3], [2, 3]]]
    batch = play(
        "adapmoe-code", *two, fit={"sequences": 1}, cache={"experts": 14}, weights=[0.5, 0.5], lookahead=RIGHT, batch=2
    )
    assert not batch.lines("prefetch"), "with more than one token nothing is prefetched"


def test_hobbit_looks_on_to_the_first_miss() -> None:
    """Layer 1's E0 is there at the second token, so that layer 0's gate looks on to layer 2, whose E2 is missing."""
    tokens: Sequence[Token] = [[[0], [0], [1]], [[0], [0], [2]]]
    played = play(
        "hobbit",
        tokens,
        cache={"experts": 6},
        weights=[1.0],
        low_precision={"format": "4 bit", "frac": 0.25},
        lookahead=RIGHT,
    )
    assert played.lines("prefetch") == ["prefetch 1.0 1200-2200", "prefetch 2.1 2200-3200", "prefetch 2.2 3550-4550"]
    assert played.log[-2:] == ["run 1.0 3850-3950", "run 2.2 4550-4650"]


def test_promoe_interrupts_and_calls_off() -> None:
    """Four chunks of 250. Layer 1 asks for E1 at 1500, while the wrong guess E3 is under way: it gives way at 1700.

    E3 goes on when E1 has come, and is whole at 3200; what layer 1 guessed for layer 2 waits still when that asks at 3000,
    and is called off.
    """
    played = play(
        "promoe",
        [[[0], [1], [2]]],
        num_experts=4,
        cache={"experts": 6},
        hardware_set={"link.h2d.chunk": "3 KiB"},
        lookahead=WRONG,
    )
    prefetched = played.lines("prefetch")[0].split()[1]
    assert played.log[:6] == [
        "fetch 0.0 200-1200",
        "run 0.0 1200-1300",
        f"prefetch {prefetched} 1200-1700",
        "fetch 1.1 1700-2700",
        "run 1.1 2700-2800",
        f"prefetch {prefetched} 2700-3200",
    ]
    assert played.attribution_us["queued_behind_prefetch"] == 200 + 200
    assert played.prefetches["cancelled"] == 1


def test_promoe_refreshes_what_it_predicts() -> None:
    """Layer 1 holds E0 and E1, E1 used last, when the third step names its E0 and E2: E0 counts as used, so E1 goes."""
    sequences: Sequence[Sequence[Token]] = ([[[0], [0]], [[0], [1]], [[0], [0]]], [[[0], [1]], [[0], [1]], [[0], [2]]])
    played = play("promoe", *sequences, cache={"experts": 4}, lookahead=RIGHT, batch=2)
    assert played.keys("prefetch") == ["1.0", "1.1", "1.2"]
    assert played.log[-3:] == ["prefetch 1.2 4200-5200", "run 1.0 4500-4600", "run 1.2 5200-5300"]
    forgets = play("promoe", *sequences, cache={"experts": 4}, lookahead=RIGHT, batch=2, prefetch="gate_lookahead")
    assert forgets.keys("prefetch", "fetch")[-2:] == ["1.2", "1.0"]


def test_pre_gated() -> None:
    """No expert is kept: each layer's is fetched while the layer before is computed, the first layer's on demand."""
    played = play("pre-gated", [[[0], [1], [2]], [[0], [1], [2]]], cache={"experts": 2})
    first = ["fetch 0.0 200-1200", "prefetch 1.1 1200-2200", "prefetch 2.2 2200-3200"]
    second = ["fetch 0.0 3550-4550", "prefetch 1.1 4550-5550", "prefetch 2.2 5550-6550"]
    assert played.lines("fetch", "prefetch") == [*first, *second]
    assert played.attribution_us["exposed_late_prefetch"] == 4 * 700


def test_expertflow_2510() -> None:
    """One expert takes 1000 to come and a layer 300: the lookahead starts at ceil(1000 / 300) = 4, cut to 3 layers.

    So the first gate names the experts of all layers that follow, at once. A layer of 1050 keeps up: one layer ahead.
    """
    played = play("expertflow-2510", [[[0], [1], [2], [3]]], cache={"experts": 8}, lookahead=RIGHT)
    assert played.lines("fetch", "prefetch") == [
        "fetch 0.0 200-1200",
        "prefetch 1.1 1200-2200",
        "prefetch 2.2 2200-3200",
        "prefetch 3.3 3200-4200",
    ]
    fast = play(
        "expertflow-2510",
        [[[0], [1], [2], [3]]],
        cache={"experts": 8},
        lookahead=RIGHT,
        hardware_set={"durations.layer": {"constant": "950 us", "kind": "assumed", "source": "stated"}},
    )
    assert fast.lines("fetch", "prefetch")[2:] == ["prefetch 2.2 3000-4000", "prefetch 3.3 4050-5050"]
