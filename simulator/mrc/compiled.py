"""Loops over accesses, compiled where numba is installed (extra `fast`), and as they are where it is not.

The same function runs either way, so the integers are the same; without numba it runs on lists, which plain Python reads
faster than arrays. Compiled code is kept beside the module, or in the user's cache folder (or NUMBA_CACHE_DIR) where that
cannot be written; where nothing can be, it is compiled anew in each process.
"""

import importlib
import os
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import ParamSpec, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A", bound=np.generic)


def is_compiled() -> bool:
    """Tell whether loops are compiled: numba is there, and MOESIM_PLAIN_LOOPS is not set."""
    return not os.environ.get("MOESIM_PLAIN_LOOPS") and find_spec("numba") is not None


def as_room(array: NDArray[A]) -> NDArray[A]:
    """Return what a loop reads and writes in the place of an array: itself, or a list where the loop is plain Python."""
    return array if is_compiled() else cast("NDArray[A]", array.tolist())


def as_loop(loop: Callable[P, R]) -> Callable[P, R]:
    """Return a loop as fast as it can be had; its arguments are numbers and what `as_room` returns."""
    return cast("Callable[P, R]", _compiled(loop)) if is_compiled() else loop


@cache
def _compiled(loop: Callable[..., object]) -> Callable[..., object]:
    numba = importlib.import_module("numba")
    try:
        fast: Callable[..., object] = numba.njit(cache=True)(loop)
    except RuntimeError:  # no folder for the compiled code
        fast = numba.njit(loop)
    return fast
