"""Belady's optimal replacement where an expert need not enter the cache, as an oracle."""

from simulator.eviction.belady import Belady


class BeladyBypass(Belady):
    """Admit a missed expert only if it is used again before one that would have to go; evict as `belady`.

    With staging slots, no policy that fetches on demand misses less where one expert is asked for at a time and all are
    of one size. An expert that is never used again is not admitted, nor any where all in the pool are held.

    Source: P. Michaud: "Some mathematical facts about optimal cache replacement", ACM TACO 13(4), 2016, on OPT with
    bypassing, after R. L. Mattson, J. Gecsei, D. R. Slutz, I. L. Traiger, IBM Systems Journal 9(2), 1970.
    """

    def admits(self, key: int) -> bool:
        """Tell whether the key is used again before the victim is."""
        victim = self.victim()
        return victim is not None and self._oracle.next_visit(key) < self._oracle.next_visit(victim)
