"""The longest time between two output tokens of a request, while many requests decode together.

All that decode put out a token at the same steps, so that their gaps are the same. Kept are only the gaps that are longer
than every later one: the longest since any step is then found by looking for the first of them after it.

Source: the monotonic stack for maxima of suffixes; each gap is put on and taken off once.
"""

from bisect import bisect_right


class LongestGap:
    """Note the gap before each step's tokens; tell the longest since a step. Gaps are in ns."""

    __slots__ = ("_gaps_ns", "_steps", "num_steps")

    def __init__(self) -> None:
        self.num_steps = 0
        self._steps: list[int] = []
        self._gaps_ns: list[int] = []

    def add(self, gap_ns: int) -> None:
        """Note the gap that ends with the next step."""
        self.num_steps += 1
        while self._gaps_ns and self._gaps_ns[-1] <= gap_ns:
            self._gaps_ns.pop()
            self._steps.pop()
        self._steps.append(self.num_steps)
        self._gaps_ns.append(gap_ns)

    def since(self, step: int) -> int:
        """Return the longest gap after the first `step` steps; 0 where there was none."""
        at = bisect_right(self._steps, step)
        return self._gaps_ns[at] if at < len(self._steps) else 0

    def forget(self) -> None:
        """Drop what was noted, when nobody is left to ask; steps are counted on."""
        self._steps.clear()
        self._gaps_ns.clear()
