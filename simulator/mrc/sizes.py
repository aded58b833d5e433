"""Cache sizes as people write them: experts, shares of all experts, or bytes."""

from fractions import Fraction

from hardware_profiles.errors import InputError
from hardware_profiles.quantity import Dimension, parse_quantity

DEFAULT_SHARES = (5, 10, 15, 20, 25, 30, 40, 50, 60, 75, 90)


def parse_sizes(text: str | None, *, num_experts: int, smallest: int, bytes_each: int | None) -> list[int]:
    """Read sizes divided by commas, `96`, `25%` or `6 GiB`, as experts, ascending; None stands for some shares.

    Raises InputError for what is not a size, for one that no run could have (fewer than `smallest` experts), for more than
    all experts, and for bytes where nobody knows what an expert takes.
    """
    if text is None:
        shares = {max(smallest, num_experts * share // 100) for share in DEFAULT_SHARES}
        return sorted(share for share in shares if share <= num_experts)
    sizes = set()
    for part in text.split(","):
        size = _size(part.strip(), num_experts, bytes_each)
        if not smallest <= size <= num_experts:
            raise InputError(
                "--sizes",
                f"{part.strip()!r} is {size} experts; a cache has {smallest} (the fewest that a run needs) to "
                f"{num_experts} (all)",
            )
        sizes.add(size)
    return sorted(sizes)


def _size(text: str, num_experts: int, bytes_each: int | None) -> int:
    if text.isdecimal():
        return int(text)
    if text.endswith("%"):
        try:
            return int(Fraction(text[:-1].strip()) / 100 * num_experts)
        except (ValueError, ZeroDivisionError):
            raise InputError("--sizes", f"{text!r} is not a share; write 25%") from None
    try:
        num_bytes = int(parse_quantity(text, Dimension.BYTES))
    except ValueError as error:
        raise InputError("--sizes", f"{error}; write experts (96), a share (25%) or bytes (6 GiB)") from None
    if bytes_each is None:
        raise InputError("--sizes", f"{text!r} is in bytes, and nobody says what an expert takes; name its --model")
    return num_bytes // bytes_each
