"""Traces opened once, and digests of files taken once, for as long as the files stay what they are."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from hardware_profiles.errors import InputError
from traces.format import Trace, open_trace

_BLOCK_BYTES = 1 << 20
_MOST_OPEN = 32
_Stamp = tuple[tuple[str, int, int, int, int], ...]


class Files:
    """The files that points name. A file counts as unchanged while its size, times and inode are."""

    def __init__(self) -> None:
        self._traces: dict[str, tuple[_Stamp, Trace]] = {}
        self._digests: dict[str, tuple[_Stamp, str]] = {}

    def trace(self, path: str | Path) -> Trace:
        """Return a trace, opened if it is not yet. Raises TraceError."""
        place = os.path.realpath(path)
        stamp = _stamp(Path(place))
        known = self._traces.get(place)
        if known is None or known[0] != stamp:
            self._traces.pop(place, None)
            if len(self._traces) == _MOST_OPEN:
                self._traces.pop(next(iter(self._traces)))  # the one that was opened first
            known = self._traces[place] = (stamp, open_trace(path))
        return known[1]

    def digest(self, path: str | Path) -> str:
        """Return the SHA-256 of a file, or of a folder's files with their names. Raises InputError."""
        place = Path(os.path.realpath(path))
        try:
            stamp = _stamp(place)
            known = self._digests.get(str(place))
            if known is None or known[0] != stamp:
                known = self._digests[str(place)] = (stamp, _digest(place))
        except OSError as error:
            raise InputError(path, f"cannot be read: {error.strerror or error}") from None
        return known[1]


def _members(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(item for item in path.iterdir() if item.is_file())
    elif path.exists():
        yield path


def _stamp(path: Path) -> _Stamp:
    """Return what of a file, or of a folder's files, changes when these do."""
    stamps = []
    for item in _members(path):
        found = item.stat()
        stamps.append((item.name, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino))
    return tuple(stamps)


def _digest(path: Path) -> str:
    """Return the digest of a file's bytes; of a folder, that of its files' names and digests."""
    sha = hashlib.sha256()
    if path.is_dir():
        for item in _members(path):
            sha.update(f"{item.name}\n{_digest(item)}\n".encode())
        return sha.hexdigest()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            sha.update(block)
    return sha.hexdigest()
