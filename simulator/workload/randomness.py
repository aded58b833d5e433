"""Random numbers of a workload: one stream for each purpose, so that one thing drawn more often shifts no other.

Two runs of one seed see the same requests whatever else differs between them (common random numbers): lengths do not
depend on the arrival rate, nor does what one user asks on how fast another is served.
"""

import hashlib
from random import Random


def stream(seed: int, *purpose: object) -> Random:
    """Return the generator of a purpose; the same numbers on any machine for the same seed and purpose."""
    return Random("/".join(map(str, (seed, *purpose))))


def derived_seed(seed: int, *purpose: object) -> int:
    """Return a seed for a part, which has purposes of its own; below 2**63."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
