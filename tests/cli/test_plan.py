"""`moesim plan` from the command line."""

import json

import pytest

from tests.cli.conftest import CommandLine

NANO = ("plan", "--model", "moesim-nano", "--context", "128")


def test_table_and_json_tell_the_same(moesim: CommandLine) -> None:
    """The verdict, the interval and the changes stand in both."""
    shown, facts = moesim(*NANO), json.loads(moesim(*NANO, "--json").out)
    assert shown.code == 0
    assert facts["fits"] is facts["fits_without_offloading"] is True
    assert "Fits without offloading" in shown.out
    for speed in facts["speeds"].values():
        assert f"{speed['tokens_per_s']:.4g}" in shown.out
    for change in facts["changes"]:
        assert change["change"] in shown.out
    assert any("rtx-4090" in text for text in facts["assumptions"]), "whose speeds are taken is said"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("plan",), "--model"),
        (("plan", "--model", "qwen3-30b-a3"), "qwen3-30b-a3b"),
        ((*NANO, "--vram", "24"), "unit"),
        ((*NANO, "--vram", "24 GB/s"), "gpu.memory"),
        ((*NANO, "--pcie", "gen9x16"), "gen9x16"),
        ((*NANO, "--gpu", "rtx-4091"), "rtx-4090"),
        ((*NANO, "--quant", "q9_z"), "--quant"),
        ((*NANO, "--batch", "0"), "1 or more"),
        ((*NANO[:3], "--context", "0"), "1 or more"),
        ((*NANO, "--seed", "-1"), "--seed"),
        ((*NANO, "--skew", "-1", "--vram", "1100MiB"), "--skew"),
        ((*NANO, "--stickiness", "0.9", "--vram", "1100MiB"), "--stickiness"),
        ((*NANO, "--trace", "trace.safetensors"), "moesim-nano"),
        ((*NANO, "--trace", "trace.safetensors", "--skew", "1"), "--trace"),
        ((*NANO, "--trace", "none.safetensors"), "none.safetensors"),
        ((*NANO, "--html", "none/plan.html"), "--html none/plan.html"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], says: str, moesim: CommandLine) -> None:
    """One message with the remedy, and code 2."""
    outcome = moesim(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert says in outcome.err
    assert outcome.err.startswith("moesim: error: ")
