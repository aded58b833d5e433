"""What becomes of the misses that a policy does not handle in its own way."""

from simulator.miss.protocol import MissAction

OTHERWISE = {
    "fetch": MissAction.FETCH,
    "cpu": MissAction.CPU,
    "in_place": MissAction.IN_PLACE,
}


def action_otherwise(name: str) -> MissAction:
    """Return the action that a policy's parameter `otherwise` names. Raises ValueError for any other name."""
    if name not in OTHERWISE:
        raise ValueError(f"otherwise is {name!r}; it should be one of {', '.join(OTHERWISE)}")
    return OTHERWISE[name]
