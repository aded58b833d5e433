"""Results on disk, each in a small JSON file named by its key: any number of processes may read and write at once."""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hardware_profiles.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A summary as it was stored, and how long its run took."""

    summary: Mapping[str, object]
    wall_s: float


class Store:
    """A folder of results. A file appears whole, under its name, or not at all; one that is damaged counts as absent."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        """Make the folder. Raises InputError where nothing can be written to it."""
        probe = self.path / f".{os.getpid()}.probe"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise InputError(self.path, f"cannot be written: {error.strerror}; name another folder") from None

    def read(self, key: str) -> Stored | None:
        """Return a result; None where there is none, or where its file is not as it was written."""
        try:
            content = json.loads(self._file(key).read_text(encoding="utf-8"))
            summary, wall_s = content["summary"], content["wall_s"]
            if content["key"] != key or content["summary_sha256"] != _digest(summary):
                return None
            return Stored(summary=summary, wall_s=float(wall_s))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def write(self, key: str, stored: Stored) -> None:
        """Store a result. Raises OSError where it cannot be written."""
        file = self._file(key)
        file.parent.mkdir(exist_ok=True)
        content = {
            "key": key,
            "summary": stored.summary,
            "summary_sha256": _digest(stored.summary),
            "wall_s": stored.wall_s,
        }
        partial = file.with_name(f".{key}.{platform.node()}.{os.getpid()}")
        try:
            partial.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")
            partial.replace(file)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise

    def _file(self, key: str) -> Path:
        return self.path / key[:2] / f"{key}.json"


def _digest(summary: object) -> str:
    return hashlib.sha256(json.dumps(summary, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
