"""What a run's loss is estimated to cost, and how the run says so."""

import json
from math import exp, log
from pathlib import Path

import pytest
from rich.console import Console

from hardware_profiles.errors import InputError
from simulator.quality import Curve, Curves, estimate, quality_of, read_curves, shipped_curves
from simulator.report import print_summary
from simulator.run import RunResult, simulate
from simulator.scenario import build_scenario
from traces.nano import TRACE


def curve(linear: float, square: float, *, to: float = 0.5, bits: float | None = None) -> Curve:
    """Return a curve with a band of half to double."""
    return Curve(
        low=(linear / 2, square / 2),
        mid=(linear, square),
        high=(linear * 2, square * 2),
        measured_to=to,
        bits_per_weight=bits,
    )


CURVES = Curves(
    measured_on="a model",
    of_mass={
        "dropped_weaker": curve(0.2, 1.0),
        "dropped_strongest": curve(3.0, 0.0),
        "substituted": curve(1.0, 0.0),
        "deferred": curve(0.1, 0.0),
    },
    of_format={"int8": curve(0.01, 0.0, to=1, bits=8), "int4_g128": curve(0.1, 0.0, to=1, bits=4.16)},
)


def of(low_format: str | None = None, *, is_counted: bool = True, **masses: float) -> tuple[float, float, float, bool]:
    """Estimate a loss given by its masses."""
    loss = {f"{name}_mass_frac": mass for name, mass in masses.items()}
    found = estimate(loss, low_format=low_format, curves=CURVES, is_counted=is_counted)
    assert found.source == "a model"
    return found.low, found.mid, found.high, found.is_extrapolated


def test_no_loss_costs_exactly_nothing() -> None:
    """No more, no less; a run that loses nothing has no quality at all."""
    assert of() == of(dropped=0.0, low_precision=0.0, is_counted=False) == (0, 0, 0, False)
    assert quality_of({"dropped_mass_frac": 0.0, "dropped_picks": 0}, low_format=None) is None
    assert quality_of({"dropped_mass_frac": None}, low_format=None) is None


def test_losses_add() -> None:
    """What is dropped of strongest picks and of weaker ones by their own curves, and other kinds upon that."""
    weaker, strongest = 0.2 * 0.1 + 0.01, 3.0 * 0.2
    assert of(dropped=0.3, dropped_strongest=0.2)[1] == pytest.approx(weaker + strongest)
    assert of(dropped=0.3, dropped_strongest=0.2, deferred=0.4)[1] == pytest.approx(weaker + strongest + 0.04)
    low, mid, high, _ = of(substituted=0.1)
    assert (low, mid, high) == pytest.approx((0.05, 0.1, 0.2))


@pytest.mark.parametrize("name", ["dropped", "substituted", "deferred", "low_precision"])
def test_more_loss_costs_more(name: str) -> None:
    """By every curve, shipped ones included."""
    for curves in (CURVES, shipped_curves()):
        for bound in ("low", "mid", "high"):
            costs = [
                getattr(estimate({f"{name}_mass_frac": step / 20}, low_format="int4_g128", curves=curves), bound)
                for step in range(21)
            ]
            assert costs == sorted(costs)
            assert costs[0] == 0


def test_shipped_bands_hold_their_middle() -> None:
    """Low is below, high above, at every mass."""
    for masses in ({"dropped": 0.2}, {"dropped": 0.3, "dropped_strongest": 0.2}, {"substituted": 0.2, "unlike": 0.1}):
        loss = {f"{name}_mass_frac": mass for name, mass in masses.items()}
        found = estimate(loss)
        assert 0 <= found.low <= found.mid <= found.high
        assert found.mid > 0


def test_what_was_not_measured_is_flagged() -> None:
    """Masses beyond, formats between and below, losses that are not counted."""
    assert of(dropped=0.5)[3] is False
    assert of(dropped=0.51)[3] is True
    assert of("int8", low_precision=1.0) == (0.005, 0.01, 0.02, False)
    assert of("q6_k", low_precision=1.0) == (0.05, 0.1, 0.2, True), "of fewer bits, the next lower one's"
    assert of("2 bit", low_precision=1.0) == (0.05, 0.1, 0.2, True), "fewer bits than any"
    assert of(substituted=0.1, is_counted=False)[3] is True
    with pytest.raises(ValueError, match="low_format is None"):
        of(low_precision=0.1)


def test_curves_are_read_from_a_file(tmp_path: Path) -> None:
    """And a file that holds none is refused."""
    path = tmp_path / "curves.json"
    one = {"low": [0, 0], "mid": [0.5, 0], "high": [1, 1], "measured_to": 0.5}
    values = {"form": 1, "measured_on": "mine", "of_mass": {"deferred": one}, "of_format": {}}
    path.write_text(json.dumps(values), encoding="utf-8")
    assert estimate({"deferred_mass_frac": 0.4}, curves=read_curves(path)).mid == 0.2
    for broken in ("{}", "[]", "x", json.dumps(values | {"form": 99}), json.dumps(values | {"of_mass": {"a": {}}})):
        path.write_text(broken, encoding="utf-8")
        with pytest.raises(InputError, match="holds no curves"):
            read_curves(path)
    with pytest.raises(InputError, match="holds no curves"):
        read_curves(tmp_path / "none.json")


def run(**settings: object) -> RunResult:
    """Simulate a piece of the shipped trace."""
    values = {"trace": str(TRACE), "model": "moesim-nano", "hardware": "fixed-costs", "cache": {"frac": 0.25}}
    return simulate(build_scenario(values | {"max_tokens": 60} | settings, "test"))


def test_a_run_says_what_its_loss_costs() -> None:
    """In its summary and in one line of its report; a run without loss says nothing."""
    console = Console(record=True, width=200)
    lossless, lossy = run().summary, run(miss="drop").summary
    assert lossless["quality"] is None
    print_summary(console, lossless, "lossless")
    assert "perplexity" not in console.export_text()
    quality, loss = lossy["quality"], lossy["loss"]
    assert isinstance(quality, dict)
    assert isinstance(loss, dict)
    ratio = quality["perplexity_ratio"]
    assert log(ratio["mid"]) == pytest.approx(estimate(loss).mid)
    assert 1 <= ratio["low"] <= ratio["mid"] <= ratio["high"]
    assert quality["measured_on"].startswith("moesim-nano")
    assert quality["is_extrapolated"] is False
    print_summary(console, lossy, "lossy")
    assert f"perplexity x {ratio['mid']:.3f} (" in console.export_text()


def test_formats_and_uncounted_losses_reach_the_estimate() -> None:
    """The scenario's format; a policy that begins early loses more than is counted."""
    always = {"name": "low_precision", "always": True}
    coarse, fine = (
        run(miss=always, low_precision={"format": name, "frac": 0.25}).summary["quality"] for name in ("2 bit", "int8")
    )
    assert isinstance(coarse, dict)
    assert isinstance(fine, dict)
    assert coarse["perplexity_ratio"]["mid"] > fine["perplexity_ratio"]["mid"] >= 1
    early = run(miss="daop", placement="popular").summary["quality"]
    assert isinstance(early, dict)
    assert early["is_extrapolated"] is True
    assert exp(0) < early["perplexity_ratio"]["mid"]
