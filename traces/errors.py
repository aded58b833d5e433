"""The error that a user's trace can cause."""

from pathlib import Path


class TraceError(ValueError):
    """A trace, or a file to import as one, is at fault.

    The message names the file, the tensor or field, and the remedy; `moesim` prints it without a traceback and exits
    with 2.
    """

    def __init__(self, source: str | Path, fault: str) -> None:
        super().__init__(str(source), fault)
        self.source = str(source)
        self.fault = fault

    def __str__(self) -> str:
        return f"{self.source}: {self.fault}"
