"""Prefetches that wait go on waiting."""

from collections.abc import Sequence

from simulator.view import View


class Keep:
    """Call off nothing: what a prefetch policy has named is fetched sooner or later, wanted or not."""

    def __init__(self, view: View) -> None:
        del view

    def stale(self, queued: Sequence[int], keys: Sequence[int]) -> Sequence[int]:
        """Name none."""
        del queued, keys
        return ()
