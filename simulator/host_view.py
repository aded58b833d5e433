"""What an eviction policy of host memory sees: the run's view, with the host's slots in the place of the GPU's."""

from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, cast

from simulator.cache import IN_FLIGHT, RESIDENT, ExpertCache
from simulator.run_view import RunView
from simulator.view import View


class HostView:
    """`simulator.view.View` for the host's cache: `held`, residency and slots are the host's; the rest is the run's.

    There, resident is what lies in host memory, in flight what is being read into it, held what is in use.
    """

    def __init__(self, view: RunView, num_slots: int) -> None:
        self.held_keys: set[int] = set()
        self.cache: ExpertCache | None = None
        self._view = view
        self._num_slots = num_slots

    @property
    def held(self) -> AbstractSet[int]:
        """The keys that cannot be evicted now."""
        return self.held_keys

    def is_resident(self, key: int) -> bool:
        """Tell whether host memory has the expert."""
        return self.cache is not None and self.cache.state[key] == RESIDENT

    def is_in_flight(self, key: int) -> bool:
        """Tell whether the expert has a slot of host memory that it is being read into."""
        return self.cache is not None and self.cache.state[key] == IN_FLIGHT

    def num_slots(self, layer: int) -> int:
        """Count the slots for which the experts of a routing round compete: all."""
        del layer
        return self._num_slots

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            return getattr(self._view, name)

    def as_view(self) -> View:
        """Return it as what policies are built with."""
        return cast(View, self)
