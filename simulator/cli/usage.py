"""Say what is wrong with a command line, in one message as for any other fault of the input."""

from difflib import get_close_matches
from typing import TYPE_CHECKING

from cyclopts.exceptions import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from hardware_profiles.errors import InputError
from hardware_profiles.suggest import one_of

if TYPE_CHECKING:
    from cyclopts import App

_TYPES = {float: "is not a number", bool: "is one value too many"}


def usage_fault(error: CycloptsError, app: "App") -> InputError:
    """Return the fault that cyclopts has found, with the command whose help says more."""
    command = " ".join(["moesim", *(error.command_chain or ())])
    return InputError(command, f"{_fault(error, error.app or app)}; see {command} --help")


def _fault(error: CycloptsError, app: "App") -> str:
    match error:
        case UnknownCommandError(unused_tokens=[token, *_]) if not token.startswith("-"):
            return f"{token!r} is not a command; {one_of(token, sorted(name for name in app if name[0] != '-'))}"
        case UnknownCommandError(unused_tokens=[token, *_]):
            return f"{token} is not an option"
        case UnknownOptionError():
            written = (error.token.keyword or error.token.value).partition("=")[0]
            known = [name for argument in error.argument_collection for name in argument.names]
            close = get_close_matches(written, known, n=1)
            return f"{written} is not an option" + (f"; did you mean {close[0]}" if close else "")
        case CoercionError() if error.token is not None and error.msg is not None:
            return f"{_named(error, error.token.keyword)}: {error.msg}"
        case CoercionError() if error.token is not None and error.target_type in _TYPES:
            return f"{_named(error, error.token.keyword)}: {error.token.value!r} {_TYPES[error.target_type]}"
        case UnusedCliTokensError(unused_tokens=[token, *_]):
            return f"{token!r} is one argument too many; quote a value that has blanks in it"
        case RepeatArgumentError():
            return f"{error.token.keyword}: is given twice; keep one"
        case MissingArgumentError():
            return f"{_named(error, error.keyword)}: needs a value"
    error.verbose = False
    return " ".join(str(error).split()).rstrip(".?")


def _named(error: CycloptsError, keyword: str | None) -> str:
    """Name the option as it was written, or the argument that has a place and no name."""
    name = keyword or (error.argument.name if error.argument is not None else "value")
    is_option = keyword is not None or error.argument is None or error.argument.field_info.is_keyword_only
    return name if is_option else name.lstrip("-").upper()
