"""What every router must do, and what each does. One added to REQUEST_ROUTER is tested here at once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulator.request_router import REQUEST_ROUTER
from simulator.request_router.protocol import Asked, num_requests

ASKED = Asked(prompt_tokens=10, category="code", session=3)


@dataclass(kw_only=True)
class HandReplicas:
    """Replicas as a test says they are."""

    waiting: Sequence[int]
    running: Sequence[int]
    prompts_left: Sequence[int] = ()
    left: Sequence[int] = ()
    experts: Sequence[Sequence[bool]] = ()
    picks: Sequence[int] = ()
    required: set[str] = field(default_factory=set)

    @property
    def num_replicas(self) -> int:
        """How many."""
        return len(self.waiting)

    def num_waiting(self, replica: int) -> int:
        """As it says."""
        return self.waiting[replica]

    def num_running(self, replica: int) -> int:
        """As it says."""
        return self.running[replica]

    def prompt_tokens_left(self, replica: int) -> int:
        """As it says."""
        return self.prompts_left[replica]

    def tokens_left(self, replica: int) -> int:
        """As it says."""
        assert "lengths" in self.required
        return self.left[replica]

    def require_lengths(self) -> None:
        """Note it."""
        self.required.add("lengths")

    def resident(self, replica: int) -> NDArray[np.bool_]:
        """As it says."""
        return np.array(self.experts[replica], bool)

    def prompt_picks(self) -> NDArray[np.int64]:
        """As it says."""
        assert "picks" in self.required
        return np.array(self.picks, np.int64)

    def require_prompt_picks(self) -> None:
        """Note it."""
        self.required.add("picks")

    def random(self) -> Random:
        """Return one."""
        return Random(5)


@st.composite
def hands(draw: st.DrawFn) -> HandReplicas:
    """Draw replicas."""
    num, keys = draw(st.integers(1, 6)), 5
    few = st.lists(st.integers(0, 6), min_size=num, max_size=num)
    bools = st.lists(st.booleans(), min_size=keys, max_size=keys)
    return HandReplicas(
        waiting=draw(few),
        running=draw(few),
        prompts_left=draw(few),
        left=draw(few),
        experts=draw(st.lists(bools, min_size=num, max_size=num)),
        picks=draw(st.lists(st.integers(0, 9), min_size=keys, max_size=keys)),
    )


@pytest.mark.parametrize("name", REQUEST_ROUTER)
@settings(derandomize=True, deadline=None, max_examples=100)
@given(replicas=hands())
def test_chooses_a_replica_that_is_there_and_the_same_again(name: str, replicas: HandReplicas) -> None:
    """All that a router goes by is in what it sees."""
    chosen = [[router.choose(ASKED) for _ in range(8)] for router in (REQUEST_ROUTER[name](replicas) for _ in "ab")]
    assert chosen[0] == chosen[1]
    assert set(chosen[0]) <= set(range(replicas.num_replicas))


def test_in_turn() -> None:
    """0, 1, 2, and again."""
    router = REQUEST_ROUTER["round_robin"](HandReplicas(waiting=[9, 0, 0], running=[9, 0, 0]))
    assert [router.choose(ASKED) for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize(("by", "expected"), [("requests", 1), ("prompt_tokens", 2), ("tokens", 0)])
def test_least_loaded(by: str, expected: int) -> None:
    """The least by the measure, ties to the lowest; who asks for lengths has said so."""
    replicas = HandReplicas(waiting=[1, 0, 1], running=[0, 0, 0], prompts_left=[5, 9, 4], left=[3, 3, 8])
    assert REQUEST_ROUTER["least_loaded"](replicas, by=by).choose(ASKED) == expected
    assert replicas.required == ({"lengths"} if by == "tokens" else set())


def test_choices_look_at_so_many() -> None:
    """With as many as there are it is least_loaded, with one it is random; two never give the worst of three."""
    replicas = HandReplicas(waiting=[1, 5, 2], running=[0, 0, 0])

    def chosen(count: int) -> Counter[int]:
        router = REQUEST_ROUTER["choices"](replicas, count=count)
        return Counter(router.choose(ASKED) for _ in range(3000))

    assert set(chosen(3)) == set(chosen(9)) == {0}
    assert set(chosen(2)) == {0, 2}
    assert chosen(2)[0] == pytest.approx(2000, abs=100)
    assert min(chosen(1)[at] for at in range(3)) > 900


@settings(derandomize=True, deadline=None, max_examples=300)
@given(replicas=hands(), load_factor=st.sampled_from([1.0, 1.25, 2.0, 100.0]))
def test_cache_affine_by_its_definition(replicas: HandReplicas, load_factor: float) -> None:
    """Of those that stay within the bound, one that has no expert yet, else the one whose get most of the prompt's picks."""
    chosen = REQUEST_ROUTER["cache_affine"](replicas, load_factor=load_factor).choose(ASKED)
    loads = num_requests(replicas)
    most = ceil(load_factor * (sum(loads) + 1) / len(loads) - 1e-9)
    assert loads[chosen] + 1 <= most

    def rank(at: int) -> tuple[bool, int, int, int]:
        covered = sum(count for count, is_there in zip(replicas.picks, replicas.experts[at], strict=True) if is_there)
        return any(replicas.experts[at]), -covered, loads[at], at

    assert chosen == min((at for at in range(len(loads)) if loads[at] + 1 <= most), key=rank)


def test_consistent_hash_keeps_labels_apart_and_within_the_bound() -> None:
    """A label has its home; where that is overloaded it goes on to the same next one; fewer replicas move few labels."""
    empty = HandReplicas(waiting=[0] * 8, running=[0] * 8)
    router = REQUEST_ROUTER["consistent_hash"](empty, by="session")
    homes = [router.choose(Asked(prompt_tokens=1, session=session)) for session in range(800)]
    assert homes == [router.choose(Asked(prompt_tokens=1, session=session)) for session in range(800)]
    assert min(Counter(homes).values()) > 60
    fewer = REQUEST_ROUTER["consistent_hash"](HandReplicas(waiting=[0] * 7, running=[0] * 7), by="session")
    moved = [
        session for session in range(800) if fewer.choose(Asked(prompt_tokens=1, session=session)) != homes[session]
    ]
    assert moved == [session for session in range(800) if homes[session] == 7]
    busy = HandReplicas(waiting=[4 if at == homes[0] else 0 for at in range(8)], running=[0] * 8)
    elsewhere = REQUEST_ROUTER["consistent_hash"](busy, by="session").choose(Asked(prompt_tokens=1, session=0))
    assert elsewhere != homes[0]


def test_consistent_hash_of_no_label_is_least_loaded() -> None:
    """Without a category nothing holds a request to a replica."""
    replicas = HandReplicas(waiting=[2, 1, 1], running=[0, 0, 0])
    assert REQUEST_ROUTER["consistent_hash"](replicas).choose(Asked(prompt_tokens=1)) == 1


@pytest.mark.parametrize(
    ("name", "parameters", "fault"),
    [
        ("least_loaded", {"by": "luck"}, "by is 'luck'; it should be one of requests, prompt_tokens, tokens"),
        ("choices", {"count": 0}, "count is 0"),
        ("cache_affine", {"load_factor": 0.5}, "load_factor is 0.5"),
        ("cache_affine", {"load_factor": float("nan")}, "load_factor is nan"),
        ("consistent_hash", {"by": "name"}, "by is 'name'"),
    ],
)
def test_misfits(name: str, parameters: dict[str, object], fault: str) -> None:
    """What a router cannot go by is refused."""
    with pytest.raises(ValueError, match=fault):
        REQUEST_ROUTER[name](HandReplicas(waiting=[0], running=[0]), **parameters)
