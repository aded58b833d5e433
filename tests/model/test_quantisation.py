"""Bits per weight follow from block layouts; names and figures parse, and faults say what to do."""

import re
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.model.quantisation import QUANTISATIONS, parse_quantisation


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("fp32", "32"),
        ("bf16", "16"),
        ("fp16", "16"),
        ("fp8", "8.001953125"),
        ("int8", "8"),
        ("mxfp8", "8.25"),
        ("mxfp4", "4.25"),
        ("nvfp4", "4.5"),
        ("q8_0", "8.5"),
        ("q6_k", "6.5625"),
        ("q5_k", "5.5"),
        ("q5_0", "5.5"),
        ("q4_k", "4.5"),
        ("q4_0", "4.5"),
        ("q3_k", "3.4375"),
        ("q2_k", "2.625"),
        ("int4_g128", "4.15625"),
        ("nf4", "4.126953125"),
        ("hqq4_g64", "4.251953125"),
        ("hqq2_g16", "3.015625"),
    ],
)
def test_bits_per_weight(name: str, bits: str) -> None:
    assert QUANTISATIONS[name].bits_per_weight == Fraction(bits)


def test_every_format_is_checked_above() -> None:
    assert len(QUANTISATIONS) == 20


def test_the_layout_is_the_figure() -> None:
    """The sum that a format shows is the sum that it has."""
    for entry in QUANTISATIONS.values():
        parts, num_weights = entry.layout.strip("(").split(") / ")
        assert Fraction(sum(map(int, re.findall(r" (\d+)", f" {parts}"))), int(num_weights)) == entry.bits_per_weight
        assert entry.source


@pytest.mark.parametrize(
    ("text", "name"),
    [("mxfp4", "mxfp4"), ("Q4_K", "q4_k"), (" q4-k ", "q4_k"), ("bfloat16", "bf16"), ("AWQ", "int4_g128")],
)
def test_names_parse_in_any_case(text: str, name: str) -> None:
    assert parse_quantisation(text).name == name


@given(st.decimals(min_value=Decimal("0.001"), max_value=64, places=3))
def test_bits_parse_exactly(bits: Decimal) -> None:
    assert parse_quantisation(f"{bits} bit").bits_per_weight == Fraction(bits)
    assert parse_quantisation(f"{bits}bit/weight").bits_per_weight == Fraction(bits)


def test_an_unknown_name_lists_the_known_and_the_close() -> None:
    with pytest.raises(ValueError) as caught:
        parse_quantisation("mxfp5")
    assert str(caught.value).startswith("'mxfp5' is not a quantisation that moesim knows; did you mean mxfp")
    assert all(name in str(caught.value) for name in QUANTISATIONS)


@pytest.mark.parametrize(
    ("text", "words"),
    [("0 bit", "is zero"), ("-4 bit", "is negative"), ("4.25", "is not a quantisation"), ("", "is not a quantisation")],
)
def test_figures_that_are_none(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_quantisation(text)


@given(st.text(max_size=20))
def test_any_text_parses_or_is_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert parse_quantisation(text).bits_per_weight > 0
