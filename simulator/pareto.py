"""Pareto fronts: what no other choice beats in everything."""

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the places of points that no other beats, by rising first value; less is better in both.

    One point beats another if it is better in one value and not worse in the other. Of equal points the first stands for
    all. `simulator/web/front.js` does the same on pages.
    """
    front: list[int] = []
    best = float("inf")
    for place in sorted(range(len(points)), key=lambda place: (*points[place], place)):
        if points[place][1] < best:
            front.append(place)
            best = points[place][1]
    return front
