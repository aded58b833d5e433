"""One step for all."""

from collections.abc import Sequence

from simulator.workload.step import TokenRouting


class Together:
    """Have all sequences of a round share its step."""

    def groups(self, tokens: Sequence[TokenRouting], contexts: Sequence[int]) -> Sequence[Sequence[int]]:
        """Return one group."""
        del contexts
        return [range(len(tokens))]
