"""The errors that a user's input can cause in profiles, model specs and scenarios."""

from collections.abc import Sequence
from pathlib import Path


class InputError(ValueError):
    """A fault of the user's input: the message says what, where, its value and unit, and what to do.

    `moesim` prints the message without a traceback and exits with 2. `source` is the file or option at fault, `faults`
    one line for each thing wrong with it.
    """

    def __init__(self, source: str | Path, faults: str | Sequence[str]) -> None:
        lines = [faults] if isinstance(faults, str) else list(faults)
        super().__init__(source, lines)
        self.source = str(source)
        self.faults = lines

    def __str__(self) -> str:
        if len(self.faults) == 1:
            return f"{self.source}: {self.faults[0]}"
        return "\n".join([f"{self.source}: {len(self.faults)} faults", *(f"  - {fault}" for fault in self.faults)])
