"""The published figures, and how they are stretched."""

import pytest

from simulator.lookahead import StatedLookahead
from simulator.published_recall import PROFILES, published_recall


def test_mixtral_gets_its_own_figures() -> None:
    """AdapMoE's by layer, less by 90/96 from two layers ahead on; the first layer cannot be predicted."""
    published = published_recall(32, 4)
    assert published.recall[:3] == [[0.0] * 4, [0.566, *[0.5306] * 3], [0.721, *[0.6759] * 3]]
    assert published.recall[17][0] == 0.939
    assert published.recall[31] == [0.85, *[0.7969] * 3]
    assert len(published.recall) == 32
    assert "stretched" not in published.assumptions[0]


@pytest.mark.parametrize("num_layers", [1, 2, 24, 60])
def test_other_depths_are_stretched_between_the_second_layer_and_the_last(num_layers: int) -> None:
    """And the assumption says so."""
    published = published_recall(num_layers, 1)
    shares = [share for (share,) in published.recall]
    assert len(shares) == num_layers
    assert shares[:2] == [0.0, 0.566][:num_layers]
    assert num_layers <= 2 or shares[-1] == 0.85
    assert f"stretched linearly over {num_layers}" in published.assumptions[0]


def test_a_depth_between_is_interpolated() -> None:
    """With 61 layers after the first, every other one falls half way between two of Mixtral's 31."""
    published = published_recall(62, 1)
    assert [share for (share,) in published.recall[1:6]] == [0.566, 0.6435, 0.721, 0.755, 0.789]


def test_a_model_of_small_experts_is_predicted_less_well() -> None:
    """ProMoE's one figure for all layers but the first."""
    published = published_recall(3, 2, profile="promoe-qwen2")
    assert published.recall == [[0.0, 0.0], [0.669, 0.6272], [0.669, 0.6272]]
    assert "arXiv 2410.22134" in published.assumptions[0]
    assert "arXiv 2411.01433" in published.assumptions[1]


@pytest.mark.parametrize("profile", PROFILES)
def test_fits_stated_lookahead(profile: str) -> None:
    """All are shares."""
    recall = published_recall(24, 3, profile=profile).recall
    StatedLookahead(recall, first_keys=[layer * 8 for layer in range(24)], num_experts=8, seed=0)


def test_refuses_what_is_not_there() -> None:
    """The fault names the profile, or the numbers."""
    with pytest.raises(ValueError, match="profile is 'best'; it should be adapmoe-mixtral or promoe-qwen2"):
        published_recall(2, 1, profile="best")
    with pytest.raises(ValueError, match="0 layers and 1 distances asked for"):
        published_recall(0, 1)
