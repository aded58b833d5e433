"""Quantities: every unit parses to its base, exactly; everything else is refused with an example of what to write."""

from decimal import Decimal

import pytest
from hypothesis import given, seed
from hypothesis import strategies as st

from hardware_profiles.quantity import (
    Dimension,
    format_bytes,
    format_decimal_bytes,
    format_quantity,
    format_seconds,
    parse_quantity,
)


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("25 GB/s", Dimension.BYTES_PER_S, "25e9"),
        ("24 GiB", Dimension.BYTES, str(24 * 2**30)),
        ("500MB", Dimension.BYTES, "500e6"),
        ("0.1 us", Dimension.SECONDS, "1e-7"),
        ("3 µs", Dimension.SECONDS, "3e-6"),
        ("989.5 TFLOP/s", Dimension.FLOPS, "989.5e12"),
        ("80 %", Dimension.FRACTION, "0.8"),
        ("0.8 of 1", Dimension.FRACTION, "0.8"),
        ("4.25 bit", Dimension.BITS_PER_WEIGHT, "4.25"),
        ("1_600 USD", Dimension.DOLLARS, "1600"),
        ("0.69 USD/h", Dimension.DOLLARS_PER_HOUR, "0.69"),
        ("0.3 USD/kWh", Dimension.DOLLARS_PER_KWH, "0.3"),
        ("3 years", Dimension.HOURS, "26298"),
        ("2 days", Dimension.HOURS, "48"),
        ("350 W", Dimension.WATTS, "350"),
        ("16 GT/s", Dimension.TRANSFERS_PER_S, "16e9"),
        (" 2e3 ns ", Dimension.SECONDS, "2e-6"),
    ],
)
def test_units(text: str, dimension: Dimension, value: str) -> None:
    """Each unit gives the base unit's value without rounding."""
    assert parse_quantity(text, dimension) == Decimal(value)


_UNITS = [
    (Dimension.BYTES, "KiB", Decimal(1024)),
    (Dimension.BYTES, "TB", Decimal(10) ** 12),
    (Dimension.BYTES_PER_S, "GiB/s", Decimal(2) ** 30),
    (Dimension.FLOPS, "PFLOP/s", Decimal(10) ** 15),
    (Dimension.SECONDS, "ns", Decimal("1e-9")),
    (Dimension.WATTS, "kW", Decimal(1000)),
]


@seed(1)
@given(
    number=st.decimals(min_value=0, max_value=10**9, places=6, allow_nan=False, allow_infinity=False),
    unit=st.sampled_from(_UNITS),
)
def test_round_trip(number: Decimal, unit: tuple[Dimension, str, Decimal]) -> None:
    """A number written with a unit comes back as that number of that unit, to the last digit."""
    dimension, symbol, factor = unit
    assert parse_quantity(f"{number:f} {symbol}", dimension) == number * factor


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (25, "25 is a bare number; write it with a unit of bytes/s"),
        (2.5, "2.5 is a bare number"),
        ("25", "'25' is a bare number"),
        ("25e9", "'25e9' is a bare number"),
        ("25 GB", "'GB', which is not one of bytes/s"),
        ("25 gb/s", "'gb/s', which is not one of bytes/s"),
        ("-3 GB/s", "is negative"),
        ("fast", "is not a number with a unit"),
        ("nan GB/s", "is not a number with a unit"),
        ("1e999 GB/s", "is larger than anything that a machine has"),
        ("1e99 GB/s", "is larger than anything that a machine has"),
        ("", "is not a number with a unit"),
        (True, "True is not a quantity"),
        (None, "None is not a quantity"),
        (["25 GB/s"], "is not a quantity"),
    ],
)
def test_refusals(entry: object, complaint: str) -> None:
    """What is no quantity is refused, with its value and an example."""
    with pytest.raises(ValueError) as caught:
        parse_quantity(entry, Dimension.BYTES_PER_S)
    assert complaint in str(caught.value)
    assert '"25 GB/s"' in str(caught.value)


@seed(2)
@given(text=st.text(max_size=30))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """No text makes the parser fail otherwise than by ValueError."""
    try:
        assert parse_quantity(text, Dimension.SECONDS) >= 0
    except ValueError as error:
        assert "write it with a unit" in str(error)  # noqa: PT017


def test_formats_for_people() -> None:
    """Bytes and seconds are written in the largest unit that leaves a number of one or more."""
    assert [format_bytes(n) for n in (12, 1536, 24 * 2**30)] == ["12 B", "1.5 KiB", "24 GiB"]
    assert [format_seconds(t) for t in (2.0, 1e-3, 1e-4, 8e-8, 0.0)] == ["2 s", "1 ms", "100 us", "80 ns", "0 ns"]


@seed(2)
@given(value=st.floats(0, 1e30), dimension=st.sampled_from(list(Dimension)))
def test_a_written_value_reads_back_to_the_last_bit(value: float, dimension: Dimension) -> None:
    """Whatever unit it is written in."""
    assert float(parse_quantity(format_quantity(value, dimension), dimension)) == value


@pytest.mark.parametrize(
    ("value", "dimension", "text"),
    [
        (17.3e6, Dimension.BYTES, "17.3 MB"),
        (24 * 2**30, Dimension.BYTES, "24 GiB"),
        (1023, Dimension.BYTES, "1.023 kB"),
        (41.5e-6, Dimension.SECONDS, "41.5 us"),
        (0, Dimension.SECONDS, "0 ns"),
        (25e9, Dimension.BYTES_PER_S, "25 GB/s"),
        (0.8, Dimension.FRACTION, "80 %"),
        (1, Dimension.FRACTION, "100 %"),
        (12, Dimension.COUNT, "12 cores"),
    ],
)
def test_values_are_written_in_their_largest_unit(value: float, dimension: Dimension, text: str) -> None:
    """And in as few digits as say them."""
    assert format_quantity(value, dimension) == text


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), 1e31])
def test_what_no_machine_has_is_not_written(value: float) -> None:
    """Nor could it be read."""
    with pytest.raises(ValueError, match="nothing that a machine has"):
        format_quantity(value, Dimension.SECONDS)


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(17_301_504, "17.3 MB"), (9_437_184, "9.44 MB"), (999_600, "1 MB"), (999_400, "999 kB"), (12, "12 B")],
)
def test_bytes_for_people_in_powers_of_ten(num_bytes: int, text: str) -> None:
    """Three digits."""
    assert format_decimal_bytes(num_bytes) == text
