"""Types of options that several commands share."""

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter, Token


def _whole_number(kind: object, tokens: Sequence[Token]) -> int:
    """Read an integer; cyclopts itself would round 1.5 in silence."""
    del kind
    (token,) = tokens
    try:
        return int(token.value)
    except ValueError:
        raise ValueError(f"{token.value!r} is not a whole number") from None


WholeNumber = Annotated[int, Parameter(converter=_whole_number)]
