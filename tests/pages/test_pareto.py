"""Pareto fronts, in Python and on pages, against the definition."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from simulator.html_page import html_page, web_file
from simulator.pareto import pareto_front
from tests.pages.browser import Page

Points = Sequence[tuple[float, float]]


def by_definition(points: Points) -> list[int]:
    """Return the places of points that none beats: better in one, not worse in the other, or the same and before it."""

    def beats(one: int, other: int) -> bool:
        (a, b), (c, d) = points[one], points[other]
        return a <= c and b <= d and ((a, b) != (c, d) or one < other)

    places = range(len(points))
    unbeaten = [place for place in places if not any(beats(one, place) for one in places if one != place)]
    return sorted(unbeaten, key=lambda place: points[place])


def drawn_points() -> list[Points]:
    """Return clouds, most with ties."""
    draw = random.Random(5)
    return [
        [(draw.randrange(1 + width), draw.randrange(1 + width)) for _ in range(count)]
        for count in range(30)
        for width in (2, 9, 1000)
    ]


@pytest.mark.parametrize("points", drawn_points())
def test_the_front_is_what_none_beats(points: Points) -> None:
    """Of equal points the first."""
    assert pareto_front(points) == by_definition(points)


def test_pages_find_the_same_front(page: Page, tmp_path: Path) -> None:
    """In all four directions: more of a value is better exactly where less of its negative is."""
    path = tmp_path / "front.html"
    path.write_text(html_page("Front", [f"<script>{web_file('front.js')}</script>"]))
    page.show(path)
    for points in drawn_points():
        for x_sign, y_sign in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            found = page.js(
                "const [xs,ys,xLow,yLow]=JSON.parse(arguments[0]);"
                "return paretoFront(xs.map((_,place)=>place),xs,ys,xLow,yLow)",
                json.dumps(
                    [[x_sign * x for x, _ in points], [y_sign * y for _, y in points], x_sign == 1, y_sign == 1]
                ),
            )
            wanted = pareto_front(points)
            assert found == (wanted if x_sign == 1 else wanted[::-1])


def test_thinning_keeps_the_shape(page: Page, tmp_path: Path) -> None:
    """No more points than asked for, each one of those given, and none left out is far from one that is kept."""
    path = tmp_path / "thinned.html"
    path.write_text(html_page("Thinned", [f"<script>{web_file('front.js')}</script>"]))
    page.show(path)
    draw = random.Random(6)
    xs, ys = ([draw.random() for _ in range(4000)] for _ in range(2))
    kept = page.js("return thinned(arguments[0].map((_,place)=>place),arguments[0],arguments[1],500)", xs, ys)
    assert isinstance(kept, list)
    assert 100 < len(kept) <= 500
    assert len(set(kept)) == len(kept)
    left_out = draw.sample(range(4000), 200)
    assert all(min(max(abs(xs[a] - xs[b]), abs(ys[a] - ys[b])) for b in kept) < 0.1 for a in left_out)
