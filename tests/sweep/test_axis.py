"""Axes: the values that spans and lists stand for, and what is refused."""

import pytest

from simulator.sweep.axis import parse_axis, parse_zip


@pytest.mark.parametrize(
    ("span", "levels"),
    [
        ({"from": 0.1, "to": 0.9, "points": 5}, [0.1, 0.3, 0.5, 0.7, 0.9]),
        ({"from": 1, "to": 16, "points": 5, "scale": "log"}, [1, 2, 4, 8, 16]),
        ({"from": 1, "to": 4, "points": 10}, [1, 2, 3, 4]),
        ({"from": 1, "to": 16, "step": 5}, [1, 6, 11, 16]),
        ({"from": 0.1, "to": 0.4, "step": 0.1}, [0.1, 0.2, 0.3, 0.4]),
        ({"from": "10 GB/s", "to": "80 GB/s", "points": 4, "scale": "log"}, [f"{n} GB/s" for n in (10, 20, 40, 80)]),
        ({"from": "1 GiB", "to": "2.2 GiB", "step": "0.5 GiB"}, ["1 GiB", "1.5 GiB", "2 GiB"]),
        ({"from": "0.5 requests/s", "to": "2 requests/s", "points": 2}, ["0.5 requests/s", "2 requests/s"]),
    ],
    ids=str,
)
def test_spans(span: dict[str, object], levels: list[object]) -> None:
    """Both ends are there, decimals are as one would write them, whole numbers stay whole."""
    found = [value for (value,) in parse_axis("a.b", span, is_sampled=False).levels]
    assert found == levels
    assert [type(value) for value in found] == [type(value) for value in levels]


def test_a_span_in_a_sample() -> None:
    """Any value of it, by its share of the way."""
    span = parse_axis("a", {"from": "1 us", "to": "100 us", "scale": "log"}, is_sampled=True)
    assert [span.at(share) for share in (0, 0.5)] == [("1 us",), ("10 us",)]
    listed = parse_axis("a", ["x", "y"], is_sampled=True)
    assert [listed.at(share) for share in (0.0, 0.49, 0.5, 0.999)] == [("x",), ("x",), ("y",), ("y",)]


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (0.5, "is no list"),
        ("gen5x16", "is no list"),
        ([], "is an empty list"),
        ([1, 2, 1], "1 stands twice"),
        ({"from": 1, "points": 3}, "needs from and to"),
        ({"from": 1, "to": 2, "by": 3}, "by: unknown key"),
        ({"from": 2, "to": 1, "points": 3}, "is not below"),
        ({"from": 1, "to": 2}, "needs points or step"),
        ({"from": 1, "to": 2, "points": 1}, "points: 1"),
        ({"from": 1, "to": 2, "points": 3, "step": 1}, "keep one"),
        ({"from": 1, "to": 2, "step": 0}, "step: 0"),
        ({"from": 1, "to": 3, "step": 0.5}, "write a whole number"),
        ({"from": 1.0, "to": 2, "step": 1e-9}, "makes 1000000001 values"),
        ({"from": "1 GB", "to": "2 GiB", "points": 2}, "from is in GB, to in GiB"),
        ({"from": "1 GB", "to": 2, "points": 2}, "to in no unit"),
        ({"from": 0, "to": 2, "points": 2, "scale": "log"}, "log needs from above 0"),
        ({"from": 1, "to": 2, "points": 2, "scale": "cubic"}, "'cubic' is not known"),
        ({"from": True, "to": 2, "points": 2}, "is no number"),
        ({"from": "1.1.1 GB", "to": "2 GB", "points": 2}, "is no number"),
    ],
    ids=str,
)
def test_what_is_refused(value: object, fault: str) -> None:
    """With what to write instead."""
    with pytest.raises(ValueError, match=fault):
        parse_axis("a.b", value, is_sampled=False)


def test_true_and_one_are_two_values() -> None:
    """As YAML has it."""
    assert parse_axis("a", [1, True, 1.0], is_sampled=False).levels == ((1,), (True,), (1.0,))


def test_zip() -> None:
    """Lists that are gone through together are of one length."""
    axis = parse_zip({"batch": [1, 4], "max_tokens": [10, None]})
    assert (axis.paths, axis.levels) == (("batch", "max_tokens"), ((1, 10), (4, None)))
    for group, fault in (
        ({"batch": [1, 2], "seed": [1]}, "batch has 2, seed has 1"),
        ({"batch": [1]}, "fewer than two"),
        ({"batch": 1, "seed": 2}, "no mapping of paths to lists"),
        (["batch"], "no mapping of paths to lists"),
    ):
        with pytest.raises(ValueError, match=fault):
            parse_zip(group)
