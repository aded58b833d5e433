"""What the last token of each request has picked, for policies that predict its next token."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from simulator.view import View

Noted = TypeVar("Noted")


class RequestHistory(Generic[Noted]):
    """Something noted at each gate for each token, kept for the last token of each request by layer.

    Limits: a request that no step has held for long is forgotten, when `max_requests` others have come after it.
    """

    def __init__(self, view: View, *, max_requests: int = 4096) -> None:
        self._view = view
        self._max_requests = max_requests
        self._last: list[dict[int, Noted]] = [{} for _ in range(view.num_layers)]

    def note(self, of_tokens: Sequence[Noted]) -> None:
        """Note something for each token of the current step at the current layer."""
        view = self._view
        last = self._last[view.visit % view.num_layers]
        for request, noted in zip(view.requests(), of_tokens, strict=True):
            last.pop(request, None)  # so that the requests lie in the order in which they were seen last
            last[request] = noted
        while len(last) > self._max_requests:
            del last[next(iter(last))]

    def last(self, layer: int) -> list[Noted]:
        """Return what was noted last at a layer for each request of the current step, those unknown left out.

        Before the step has reached that layer, this is its tokens' predecessors. A request with several tokens in the
        step (a prefill) has one: the predecessors of the others are of the same step.
        """
        last = self._last[layer]
        return [last[request] for request in dict.fromkeys(self._view.requests()) if request in last]
