"""Say which names there are, the likeliest first, to one who wrote another."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest_first(name: str, known: Iterable[str]) -> list[str]:
    """Return `known` with the names that look like `name` first, the rest in its order."""
    rest = list(known)
    close = get_close_matches(name, rest, n=3, cutoff=0.5)
    return close + [other for other in rest if other not in close]


def one_of(name: str, known: Iterable[str]) -> str:
    """Write `did you mean ...? known: ...`, or only what is known where nothing looks like `name`."""
    names = list(known)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    listed = f"known: {', '.join(nearest_first(name, names))}"
    return f"did you mean {close[0]!r}? {listed}" if close else listed
