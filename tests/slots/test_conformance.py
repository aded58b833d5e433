"""What every split must do. A policy added to SLOTS is tested here at once."""

from pathlib import Path

import pytest

from simulator.slots import SLOTS
from simulator.training import Training
from tests.hand_made import HandView, make_trace, random_routing

NUM_EXPERTS, TOP_K = 8, 2


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> dict[int, HandView]:
    """Return views of models with one to five layers, each with a bank of its own, and random routing to learn from."""
    made = {}
    for num_layers in (1, 2, 5):
        routing = random_routing(num_layers, lengths=[40], num_layers=num_layers, num_experts=NUM_EXPERTS, top_k=TOP_K)
        path: Path = tmp_path_factory.mktemp("training") / "t.safetensors"
        training = Training(make_trace(path, routing, num_experts=NUM_EXPERTS), [0])
        made[num_layers] = HandView(
            num_layers=num_layers, num_experts=NUM_EXPERTS, top_k=TOP_K, training=training, shared_bank=False
        )
    return made


@pytest.mark.parametrize("name", SLOTS)
@pytest.mark.parametrize("num_banks", [1, 2, 5])
def test_divides_all_slots_within_bounds(name: str, num_banks: int, views: dict[int, HandView]) -> None:
    """None is left over; each bank has a working set of slots, or its share, and no more than experts; twice the same."""
    view = views[num_banks]
    for num_slots in range(num_banks, num_banks * NUM_EXPERTS + 1):
        split = list(SLOTS[name](view).split(num_slots, num_banks))
        assert len(split) == num_banks
        assert sum(split) == num_slots
        assert all(type(slots) is int for slots in split)
        assert all(min(TOP_K, num_slots // num_banks) <= slots <= NUM_EXPERTS for slots in split)
        assert split == list(SLOTS[name](view).split(num_slots, num_banks))


@pytest.mark.parametrize("name", ["popularity", "adapmoe", "by_misses"])
@pytest.mark.parametrize(("num_slots", "least"), [(1, 1), (17, 2)])
def test_refuses_what_cannot_be_divided(name: str, num_slots: int, least: int, views: dict[int, HandView]) -> None:
    """Fewer slots than banks, or more than experts."""
    fault = f"cannot split {num_slots} slots among 2 banks; each takes {least} to 8 of them"
    with pytest.raises(ValueError, match=fault):
        SLOTS[name](views[2]).split(num_slots, 2)
