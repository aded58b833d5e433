"""Compiled loops where no cache can be written, and plain ones where numba is told to stay away."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.mrc.compiled import is_compiled

ROOT = Path(__file__).parents[2]
COUNT = (
    "import sys, numpy as np\n"
    "from simulator.mrc.accesses import Accesses\n"
    "from simulator.mrc.lru import lru_hits\n"
    "keys = np.array([0, 1, 2, 0, 3, 1], np.int32)\n"
    "print(lru_hits(Accesses(keys=keys, starts=np.arange(0, 7, 2), num_keys=4)).tolist(), 'numba' in sys.modules)\n"
)


def counted(**environment: str) -> str:
    """Count in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", COUNT],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_compiled_code_goes_where_it_is_told(tmp_path: Path) -> None:
    """NUMBA_CACHE_DIR holds it; the integers are those of plain Python, which does not import numba."""
    pytest.importorskip("numba")
    plain, fast = counted(MOESIM_PLAIN_LOOPS="1"), counted(NUMBA_CACHE_DIR=str(tmp_path))
    assert (plain.split("] ")[0], plain.split("] ")[1], fast.split("] ")[1]) == (
        fast.split("] ")[0],
        "False\n",
        "True\n",
    )
    assert list(tmp_path.rglob("*.nbc"))


def test_loops_stay_plain_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    """MOESIM_PLAIN_LOOPS says so."""
    monkeypatch.setenv("MOESIM_PLAIN_LOOPS", "1")
    assert not is_compiled()
