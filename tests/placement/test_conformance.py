"""What every placement must do. A policy added to PLACEMENT is tested here at once."""

import inspect
from pathlib import Path

import numpy as np
import pytest

from simulator.cache import split_slots
from simulator.placement import PLACEMENT, Residents, Room
from simulator.training import Training
from tests.hand_made import HandView, make_trace, random_routing

NUM_LAYERS, NUM_EXPERTS, TOP_K = 3, 6, 2
NUM_KEYS = NUM_LAYERS * NUM_EXPERTS
STAGED = [name for name, make in PLACEMENT.items() if "staging" in inspect.signature(make).parameters]

UNEVEN = (6, 2, 5)
ROOMS = [
    *(Room(num_slots=num_slots, of_bank=None) for num_slots in (2, 7, 13, NUM_KEYS)),
    *(Room(num_slots=num_slots, of_bank=split_slots(num_slots, NUM_LAYERS)) for num_slots in (6, 7, 13, NUM_KEYS)),
    Room(num_slots=sum(UNEVEN), of_bank=UNEVEN),
]


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Return some random routing, each layer with a bank of its own."""
    routing = random_routing(7, lengths=[20, 11], num_layers=NUM_LAYERS, num_experts=NUM_EXPERTS, top_k=TOP_K)
    path: Path = tmp_path_factory.mktemp("training") / "t.safetensors"
    return Training(make_trace(path, routing, num_experts=NUM_EXPERTS), [0, 1])


def make_view(training: Training) -> HandView:
    """Make a view of a model with a bank per layer."""
    return HandView(num_layers=NUM_LAYERS, num_experts=NUM_EXPERTS, top_k=TOP_K, training=training, shared_bank=False)


@pytest.mark.parametrize("name", PLACEMENT)
@pytest.mark.parametrize("room", ROOMS, ids=lambda room: f"{room.num_slots}-{room.of_bank}")
def test_places_known_experts_for_which_there_is_room(name: str, room: Room, training: Training) -> None:
    """Each once, pinned or warm; of each bank no more than its slots, unless all banks share what is not pinned."""
    residents = PLACEMENT[name](make_view(training)).place(room)
    keys = [*residents.pinned, *residents.warm]
    assert len(set(keys)) == len(keys) <= room.num_slots
    assert all(type(key) is int for key in keys)
    assert all(0 <= key < NUM_KEYS for key in keys)
    if room.of_bank is not None and not residents.shares_rest:
        of_bank = np.bincount(np.array(keys, np.int64) // NUM_EXPERTS, minlength=NUM_LAYERS)
        assert (of_bank <= np.array(room.of_bank)).all()


@pytest.mark.parametrize("name", PLACEMENT)
@pytest.mark.parametrize("room", ROOMS, ids=lambda room: f"{room.num_slots}-{room.of_bank}")
def test_decides_alike_each_time(name: str, room: Room, training: Training) -> None:
    """The same run starts with the same residents."""
    assert PLACEMENT[name](make_view(training)).place(room) == PLACEMENT[name](make_view(training)).place(room)


@pytest.mark.parametrize("name", STAGED)
@pytest.mark.parametrize("room", ROOMS, ids=lambda room: f"{room.num_slots}-{room.of_bank}")
def test_staging_slots_stay_free(name: str, room: Room, training: Training) -> None:
    """They are left for fetches of any layer: top-k unless stated."""
    for staging, num_free in ((-1, TOP_K), (0, 0), (5, 5), (99, 99)):
        residents = PLACEMENT[name](make_view(training), staging=staging).place(room)
        assert residents.shares_rest
        assert len(residents.pinned) <= max(0, room.num_slots - num_free)
        assert not residents.warm
    assert PLACEMENT[name](make_view(training), staging=TOP_K).place(room) == PLACEMENT[name](
        make_view(training)
    ).place(room)


@pytest.mark.parametrize("name", STAGED)
def test_a_fault_names_the_parameter(name: str, training: Training) -> None:
    """Fewer than no slots cannot be set aside."""
    with pytest.raises(ValueError, match="staging is -2; it should be 0 slots or more, or -1 for top-k"):
        PLACEMENT[name](make_view(training), staging=-2)


@pytest.mark.parametrize("name", PLACEMENT)
def test_layers_that_share_a_bank_have_one_set_of_experts(name: str, tmp_path: Path) -> None:
    """Three rounds over one bank of six: with room for all, all six at most, each once."""
    routing = random_routing(3, lengths=[9], num_layers=3, num_experts=NUM_EXPERTS, top_k=TOP_K)
    trace = make_trace(tmp_path / "t.safetensors", routing, num_experts=NUM_EXPERTS, banks=(0, 0, 0))
    view = HandView(num_layers=3, num_experts=NUM_EXPERTS, top_k=TOP_K, training=Training(trace, [0]))
    parameters = {"staging": 0} if name in STAGED else {}
    residents: Residents = PLACEMENT[name](view, **parameters).place(Room(num_slots=NUM_EXPERTS, of_bank=[NUM_EXPERTS]))
    assert sorted([*residents.pinned, *residents.warm]) == ([] if name == "none" else list(range(NUM_EXPERTS)))
