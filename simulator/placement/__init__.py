"""Placements by name. To add one: a file here with a plain class, and a line below (or an entry point)."""

from collections.abc import Callable

from simulator.placement.affinity import Affinity
from simulator.placement.at_random import AtRandom
from simulator.placement.frequency import Frequency
from simulator.placement.front_loading import FrontLoading
from simulator.placement.none import Cold
from simulator.placement.pinned_popular import PinnedPopular
from simulator.placement.popular import Popular
from simulator.placement.protocol import Placement, Residents, Room
from simulator.placement.uniform import Uniform
from simulator.placement.whole_layers import Back, Front

PLACEMENT: dict[str, Callable[..., Placement]] = {
    "none": Cold,
    "popular": Popular,
    "pinned_popular": PinnedPopular,
    "front": Front,
    "back": Back,
    "uniform": Uniform,
    "frequency": Frequency,
    "front_loading": FrontLoading,
    "random": AtRandom,
    "affinity": Affinity,
}

__all__ = ["PLACEMENT", "Placement", "Residents", "Room"]
