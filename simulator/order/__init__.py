"""Orders of a layer's experts by name. To add one: a file here with a plain class, and a line below (or an entry point)."""

from collections.abc import Callable

from simulator.order.protocol import Order

ORDER: dict[str, Callable[..., Order]] = {}

__all__ = ["ORDER", "Order"]
