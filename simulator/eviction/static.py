"""A fixed set of popular experts."""

from simulator.eviction.fifo import FIFO


class Static(FIFO):
    """Keep the experts that are popular in the trace for good, and stage all others.

    Before the run the most popular experts are made resident and pinned, in all slots but `top_k` staging slots (one
    token's working set), which all layers share and which are reused first in, first out. The executor sees
    `PINS_POPULAR` and lays the pools out so; this policy orders the staging slots alone.
    """

    PINS_POPULAR = True
