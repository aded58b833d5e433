"""Policies that lose something in the last layer alone, whose output no gate sees: the routing stays as it was."""

from collections.abc import Sequence

from simulator.miss.drop import Drop
from simulator.miss.low_precision import LowPrecision
from simulator.miss.masked import Masked
from simulator.miss.protocol import MissAction
from simulator.view import View


def _is_last(view: View) -> bool:
    return view.visit % view.num_layers == view.num_layers - 1


class DropLate(Drop):
    """Drop the weaker missing expert of the last layer."""

    def reroute(self) -> Sequence[Sequence[int]]:
        """Leave other layers alone."""
        return super().reroute() if _is_last(self._view) else self._view.picks()


class MaskedLate(Masked):
    """Replace what is missing of the last layer."""

    def reroute(self) -> Sequence[Sequence[int]]:
        """Leave other layers alone."""
        return super().reroute() if _is_last(self._view) else self._view.picks()


class LowLate(LowPrecision):
    """Use low-precision copies in the last layer."""

    def __init__(self, view: View) -> None:
        super().__init__(view, always=True)

    def decide(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[MissAction]:
        """Fetch in other layers."""
        return super().decide(keys, num_tokens) if _is_last(self._view) else [MissAction.FETCH] * len(keys)
