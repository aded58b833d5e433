"""Types of options that several commands share, and the command that they make."""

import shlex
from collections.abc import Mapping, Sequence
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


def command_line(command: str, options: Mapping[str, object], *arguments: str, settings: Sequence[str] = ()) -> str:
    """Return a command of moesim that says what was asked, to be given again; options that are None are left out."""
    words = ["moesim", command, *arguments]
    for name, value in options.items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    for setting in settings:
        words += ["--set", setting]
    return shlex.join(words)
