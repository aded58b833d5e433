"""A process that times what it does: its threads fixed, its interpreter handed over quickly, no garbage collected."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_SWITCH_INTERVAL_S = 1e-4


@contextmanager
def quiet(num_threads: int | None) -> Iterator[None]:
    """Have torch compute with `num_threads` threads (None: as before) and nothing disturb; put all back afterwards."""
    before, interval_s = torch.get_num_threads(), sys.getswitchinterval()
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        sys.setswitchinterval(interval_s)
        torch.set_num_threads(before)
