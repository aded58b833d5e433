"""A queue whose head gets another turn while it has credit: what clock algorithms turn."""

from collections import OrderedDict
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from itertools import chain


class Ring:
    """Keys in a circle, the next to be looked at first, each with a credit of 0 to `most`.

    A key that is looked at and has credit pays one and goes to the end. A held key goes to the end and pays nothing.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._credit: OrderedDict[int, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._credit)

    def __contains__(self, key: int) -> bool:
        return key in self._credit

    def add(self, key: int) -> None:
        """Put a key at the end, without credit."""
        self._credit[key] = 0

    def drop(self, key: int) -> None:
        """Take a key out."""
        del self._credit[key]

    def use(self, key: int) -> None:
        """Give the key one more credit, up to the most."""
        self._credit[key] = min(self._credit[key] + 1, self._most)

    def first_without_credit(self, held: AbstractSet[int], joining: Iterable[int] = ()) -> tuple[int, int] | None:
        """Return which key is the first without credit, and after how many full turns; None if all are held.

        Changes nothing. `joining` are keys that would be added at the end beforehand.
        """
        for turns in range(self._most + 1):
            for key, credit in chain(self._credit.items(), ((key, 0) for key in joining)):
                if credit <= turns and key not in held:
                    return key, turns
        return None

    def turn(self, key: int, turns: int, held: AbstractSet[int]) -> None:
        """Turn to `key`, which comes to the front, after so many full turns."""
        passed = True
        for other in list(self._credit):
            passed = passed and other != key
            if not passed and not turns:
                break
            if other not in held:
                self._credit[other] = max(0, self._credit[other] - turns - passed)
            if passed:
                self._credit.move_to_end(other)
