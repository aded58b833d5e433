"""What the popular prefetcher names."""

import numpy as np
import pytest

from simulator.prefetch.popularity import Popularity
from tests.hand_made import HandView
from tests.prefetch.routing import decisions


def test_names_the_most_popular_of_the_next_layers_up_to_the_last() -> None:
    """The nearest layer first, the most popular first, ties to the lowest key; as many as the gate has picked."""
    view = HandView([[0], [5, 4], [8]], num_layers=3, num_experts=4, top_k=2, shared_bank=False)
    view.counts = np.array([3, 9, 3, 1, 0, 0, 2, 2, 5, 6, 7, 8])
    assert decisions(Popularity(view), view) == [[1, 0], [6], [], [11, 10], [], [], []]
    view.oracle.visit = -1
    assert decisions(Popularity(view, distance=2, experts=1), view) == [[1, 6], [6, 11], [], [11], [], [], []]


@pytest.mark.parametrize(
    ("parameters", "fault"),
    [
        ({"distance": 0}, "distance is 0; it should be 1 layer or more"),
        ({"experts": -1}, "experts is -1; it should be 0"),
    ],
)
def test_refuses_what_means_nothing(parameters: dict[str, int], fault: str) -> None:
    """The fault names the parameter and its value."""
    with pytest.raises(ValueError, match=fault):
        Popularity(HandView(), **parameters)
