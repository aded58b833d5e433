"""Orders of a layer's experts by name. To add one: a file here with a plain class, and a line below (or an entry point)."""

from collections.abc import Callable

from simulator.order.by_id import ById, InTurn
from simulator.order.by_load import ByLoad, ByLoadAscending
from simulator.order.by_weight import ByWeight
from simulator.order.first_appearance import FirstAppearance
from simulator.order.protocol import Order

ORDER: dict[str, Callable[..., Order]] = {
    "first_appearance": FirstAppearance,
    "by_load": ByLoad,
    "by_load_ascending": ByLoadAscending,
    "by_weight": ByWeight,
    "by_id": ById,
    "in_turn": InTurn,
}

__all__ = ["ORDER", "Order"]
