"""The option --html: one page, in a file that is named."""

from pathlib import Path

from hardware_profiles.errors import InputError
from traces.format import write_text_atomically


def check_html(path: Path) -> None:
    """Refuse what no page can be written to, before anything is run. Raises InputError."""
    if path.is_dir():
        raise InputError(f"--html {path}", "is a folder; name a file")
    if not path.absolute().parent.is_dir():
        raise InputError(f"--html {path}", f"{path.parent} is not a folder; make it, or name another file")


def write_html(path: Path, page: str) -> None:
    """Write a page whole, or not at all. Raises InputError."""
    try:
        write_text_atomically(path, page)
    except OSError as error:
        raise InputError(f"--html {path}", f"cannot be written: {error.strerror}; name another file") from None
