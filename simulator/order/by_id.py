"""By expert number."""

from collections.abc import Sequence

from simulator.view import View


class ById:
    """Put the experts with the lowest numbers first, those that are resident before the others.

    Source: systems that loop over all experts of a layer. LRU then finds next to nothing in a prefill whose experts are
    more than the slots: ProMoE, arXiv 2410.22134.
    """

    def __init__(self, view: View) -> None:
        del view

    def arrange(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[int]:
        """Sort by key."""
        del num_tokens
        return sorted(keys)


class InTurn(ById):
    """Compute the experts strictly by number: a resident one waits for a missing one before it.

    Source: the loop over experts of Hugging Face transformers' MoE blocks, with weights that are fetched as each is reached
    (accelerate's hooks).
    """

    IN_TURN = True
