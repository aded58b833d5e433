"""A change of a scenario: what is set, and how it is told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing set differently. `settings` are paths as of `--set`, `figures` the numbers that `name` tells.

    `is_ideal` marks what nobody can buy, such as no latency: a bound. `price` is what it costs beside money.
    """

    knob: str
    name: str
    settings: Mapping[str, object]
    figures: Mapping[str, float] = field(default_factory=dict)
    is_ideal: bool = False
    price: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A knob, or a part of it, that cannot apply, and why."""

    knob: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a knob gives."""

    changes: Sequence[Change] = ()
    left_out: Sequence[LeftOut] = ()


def left_out(knob: str, reason: str) -> Found:
    """Return a knob that gives no change."""
    return Found(left_out=[LeftOut(knob=knob, reason=reason)])
