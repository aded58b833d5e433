"""Durations as people read them."""


def format_duration(seconds: object) -> str:
    """Write seconds for people; a dash for none."""
    if not isinstance(seconds, int | float):
        return "-"
    for unit, factor in (("s", 1), ("ms", 1e3), ("us", 1e6)):
        if abs(seconds) * factor >= 1:
            return f"{seconds * factor:.4g} {unit}"
    return f"{seconds * 1e9:.4g} ns"
