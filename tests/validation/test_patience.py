"""Waiting for a machine to be as fast as it should be."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validation.runtime.patience import Patience


@dataclass
class Machine:
    """A clock, and probes that are 100 ns from `fast_from_s` on and 200 before."""

    fast_from_s: float
    now_s: float = 0.0
    num_sleeps: int = 0

    def patience(self, limit_s: float) -> Patience:
        """Return patience with this machine."""
        return Patience(limit_s, probe_ns=self.probe_ns, clock=lambda: self.now_s, sleep=self.sleep)

    def probe_ns(self) -> float:
        """Probe, which takes no time."""
        return 100.0 if self.now_s >= self.fast_from_s else 200.0

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.num_sleeps += 1
        self.now_s += seconds


def test_a_fast_machine_is_not_waited_for() -> None:
    """Not even a moment."""
    machine = Machine(fast_from_s=0)
    patience = machine.patience(60)
    assert not patience.wait_for(105)
    assert (machine.num_sleeps, patience.spent_s, patience.left_s) == (0, 0, 60)


@pytest.mark.parametrize("reference_ns", [100, 200])
def test_another_speed_is_waited_for(reference_ns: float) -> None:
    """A slower one, and a faster one as well."""
    machine = Machine(fast_from_s=7.5)
    patience, told = machine.patience(60), []
    assert patience.wait_for(reference_ns, lambda: told.append(machine.now_s)) == (reference_ns == 100)
    assert (machine.now_s, told) == ((8, [0]) if reference_ns == 100 else (0, []))
    machine.now_s = 9
    assert patience.wait_for(200)
    assert patience.left_s == 0, "the machine will never be that slow again"


def test_patience_is_for_all_waits_together() -> None:
    """What one has spent the next lacks; without any nothing is probed."""
    machine = Machine(fast_from_s=100)
    patience = machine.patience(10)
    assert patience.wait_for(100)
    assert (machine.now_s, patience.left_s) == (10, 0)
    assert not Patience(0, probe_ns=lambda: pytest.fail("a probe")).wait_for(100)
    assert not patience.wait_for(100)
    assert machine.now_s == 10


@given(limit_s=st.floats(0, 50), spells_s=st.lists(st.floats(0, 30), max_size=5))
def test_never_more_than_the_limit(limit_s: float, spells_s: list[float]) -> None:
    """Of spells one after the other, each is waited for to its end or to that of patience, and at most a second longer."""
    machine = Machine(fast_from_s=0)
    patience = machine.patience(limit_s)
    for spell_s in spells_s:
        began_s, left_s = machine.now_s, patience.left_s
        machine.fast_from_s = began_s + spell_s
        patience.wait_for(100)
        waited_s = machine.now_s - began_s
        assert min(spell_s, left_s) - 1e-9 <= waited_s <= min(spell_s + 1, left_s) + 1e-9
    assert patience.spent_s <= limit_s + 1e-9
