"""How often each request has used each expert."""

from collections import OrderedDict

import numpy as np

from simulator.eviction.scored import Keys, Scores
from simulator.view import View

REMEMBERED = 1024
"""Requests whose counts are kept; those that were served longest ago are forgotten first."""


class RequestCounts:
    """Count the tokens that the requests of the current step have had routed to each expert, up to now.

    A batch's counts are the sum of its requests'. `follow` is to be called at each gate.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._of_request: OrderedDict[int, dict[int, int]] = OrderedDict()
        self._served: list[dict[int, int]] = []
        self._sums: dict[int, int] = {}  # known since the last gate

    def follow(self) -> None:
        """Add the current gate's picks."""
        requests = self._view.requests()
        for request, token in zip(requests, self._view.picks(), strict=True):
            counts = self._of_request.setdefault(request, {})
            bank = -1 - token[0] // self._view.num_experts  # a number below those of keys
            counts[bank] = counts.get(bank, 0) + len(token)
            for key in token:
                counts[key] = counts.get(key, 0) + 1
        for request in dict.fromkeys(requests):
            self._of_request.move_to_end(request)
        self._served = [self._of_request[request] for request in dict.fromkeys(requests)]
        while len(self._of_request) > max(REMEMBERED, len(self._served)):
            self._of_request.popitem(last=False)
        self._sums.clear()

    def tokens(self, keys: Keys) -> Scores:
        """Return how many tokens were routed to each expert."""
        return self._sums_of((keys % self._view.num_keys).tolist())

    def routings(self, keys: Keys) -> Scores:
        """Return how often tokens were routed to any expert of each key's bank."""
        return self._sums_of((-1 - keys % self._view.num_keys // self._view.num_experts).tolist())

    def _sums_of(self, counted: list[int]) -> Scores:
        if len(self._served) == 1:
            (only,) = self._served
            return np.array([only.get(number, 0) for number in counted], np.float64)
        sums = self._sums
        for number in counted:
            if number not in sums:
                sums[number] = sum(counts.get(number, 0) for counts in self._served)
        return np.array([sums[number] for number in counted], np.float64)
