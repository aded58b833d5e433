"""Lines of a request trace, one at a time, and faults that say where they are: file:line:column."""

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from hardware_profiles.errors import InputError
from simulator.workload.generators.protocol import NS_PER_S
from simulator.workload.lengths.protocol import MAX_TOKENS

_MAX_LINE_BYTES = 1 << 26
_MAX_SECONDS = 10**12
_COUNT = re.compile(r"[0-9]{1,12}(?:\.0{1,12})?")
_NUMBER = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{0,18})?(?:[eE][+-]?[0-9]{1,2})?")


class Lines:
    """A file's lines, with its notes: what was not used of it, or was assumed.

    Memory is that of a line. A file may be iterated over again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._notes: dict[str, None] = {}

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Yield (line number from 1, line without its end), blank lines left out. Raises InputError."""
        try:
            with self.path.open("rb") as file:
                number = 0
                while line := file.readline(_MAX_LINE_BYTES + 1):
                    number += 1
                    if len(line) > _MAX_LINE_BYTES:
                        raise self.fault(number, 1, f"the line has more than {_MAX_LINE_BYTES} bytes; is it text?")
                    try:
                        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                    except UnicodeDecodeError as error:
                        raise self.fault(number, error.start + 1, "is not UTF-8 text; save it as UTF-8") from None
                    text = text.rstrip("\r\n")
                    if text and not text.isspace():
                        yield number, text
        except FileNotFoundError:
            raise InputError(self.path, "no such file; check the path") from None
        except IsADirectoryError:
            raise InputError(self.path, "is a directory; name a file in it") from None
        except OSError as error:
            raise InputError(self.path, f"cannot be read: {error.strerror}") from None

    @property
    def notes(self) -> list[str]:
        """What was noted so far, each thing once."""
        return list(self._notes)

    def note(self, text: str) -> None:
        """Note what was not used or was assumed."""
        self._notes.setdefault(text)

    def fault(self, number: int, column: int, what: str) -> InputError:
        """Return the error of a place; columns count characters, from 1."""
        return InputError(f"{self.path}:{number}:{column}", what)


def whole_number(value: object) -> int:
    """Return a number of tokens from text or JSON: `374`, and `374.0` as spreadsheets write it. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        count = value
    elif _COUNT.fullmatch(text := str(value).strip()):
        count = int(text.partition(".")[0])
    else:
        raise ValueError(f"{shown(value)} is not a number of tokens; it should be a whole number from 0")
    if not 0 <= count <= MAX_TOKENS:
        raise ValueError(f"{count} is not a number of tokens; it should be 0 to {MAX_TOKENS}")
    return count


def seconds_ns(value: object, unit_ns: int = NS_PER_S) -> int:
    """Return a time in ns, rounded to the nearest, from a number of seconds or other units. Raises ValueError."""
    text = str(value).strip()
    if isinstance(value, bool) or not _NUMBER.fullmatch(text):
        raise ValueError(f"{shown(value)} is not a time; it should be a number")
    number = Decimal(text)
    if abs(number) > _MAX_SECONDS:
        raise ValueError(f"{shown(value)} is not a time; it is out of range")
    return round(number * unit_ns)


def shown(value: object) -> str:
    """Return a value for a message, cut where it is long."""
    text = repr(value) if not isinstance(value, Decimal) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
