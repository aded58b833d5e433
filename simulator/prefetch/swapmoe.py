"""Fill the slots with the experts that have mattered most of late."""

from collections.abc import Sequence

from simulator.view import View


class SwapMoE:
    """Every `every` steps, prefetch the experts of each layer that have gathered the largest gate weights.

    `experts` of each layer are named (0: as many as there are slots for which the layer competes), the most important
    first, layer by layer, ties to the lower key. What was gathered before an update counts for `kept_frac` after it.

    Source: SwapMoE, arXiv 2308.15030, section 3.2: importance is |x| * gate weight * |W| per expert, slots are updated
    every u inputs. `every` and `kept_frac` are searched for there and not published; the defaults are ours.

    Limits: the norms of states and weights are not in a trace and are left out of the importance; a step counts as an
    input; updates come all at once and not spread over steps; which experts make room is the eviction policy's choice;
    masking the router to what is resident is the miss policy's.
    """

    def __init__(self, view: View, *, every: int = 8, experts: int = 0, kept_frac: float = 0.0) -> None:
        if every < 1:
            raise ValueError(f"every is {every}; it should be 1 step or more")
        if experts < 0:
            raise ValueError(f"experts is {experts}; it should be 0 (as many as there are slots) or more")
        if not 0 <= kept_frac <= 1:
            raise ValueError(f"kept_frac is {kept_frac}; it should be a share, from 0 to 1")
        view.require_gate_weights()
        self._view = view
        self._every = every
        self._experts = experts
        self._kept_frac = kept_frac
        self._layer_of_bank = {view.first_key(layer): layer for layer in range(view.num_layers)}  # any of several
        self._importance = [0.0] * view.num_keys
        self._num_steps = 0

    def at_step_start(self) -> Sequence[int]:
        """Name the most important experts of every bank, where an update is due."""
        if self._num_steps < self._every:
            return ()
        self._num_steps = 0
        named = [key for first_key in sorted(self._layer_of_bank) for key in self._most_important(first_key)]
        self._importance = [self._kept_frac * importance for importance in self._importance]
        return named

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Gather the gate weights."""
        del keys
        view, importance = self._view, self._importance
        for token, weights in zip(view.picks(), view.weights(), strict=True):
            for key, weight in zip(token, weights, strict=True):
                importance[key] += abs(weight)
        if (view.visit + 1) % view.num_layers == 0:
            self._num_steps += 1
        return ()

    def at_layer_end(self) -> Sequence[int]:
        """Name nothing until the next update."""
        return ()

    def _most_important(self, first_key: int) -> list[int]:
        view, importance = self._view, self._importance
        bank = [key for key in range(first_key, first_key + view.num_experts) if importance[key] > 0]
        bank.sort(key=lambda key: (-importance[key], key))
        return bank[: self._experts or view.num_slots(self._layer_of_bank[first_key])]
