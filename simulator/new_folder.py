"""Write a folder of results: made whole under a temporary name, then renamed."""

import csv
import io
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from hardware_profiles.errors import InputError


class NewFolder:
    """A folder in the making. Use as a context manager: it appears whole, or not at all.

    `path` is refused if it is there already, unless `overwrite` is true and it holds nothing but files called as in `names`,
    which `writer` (a run, a comparison) leaves. Raises InputError.
    """

    def __init__(self, path: Path, *, names: Collection[str], writer: str, overwrite: bool = False) -> None:
        self.path = path
        self._names, self._writer = names, writer
        self._overwrite = overwrite
        try:
            self.target = path.resolve()  # what a link points to is replaced, not the link
            self._check_target()
            self._made = [folder for folder in self.target.parents if not folder.exists()]
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self.staging = Path(tempfile.mkdtemp(prefix=".moesim-", dir=self.target.parent))
        except (OSError, RuntimeError) as error:
            raise _not_written(path, error) from None

    def write_texts(self, texts: Mapping[str, str]) -> None:
        """Write files by their names. Raises InputError."""
        try:
            for name, text in texts.items():
                (self.staging / name).write_text(text, encoding="utf-8", newline="")
        except OSError as error:
            raise _not_written(self.path, error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        is_there = False
        try:
            if kind is None:
                self._publish()
                is_there = True
        except OSError as error:
            raise _not_written(self.path, error) from None
        finally:
            shutil.rmtree(self.staging, ignore_errors=True)
            for folder in self._made if not is_there else ():
                with suppress(OSError):
                    folder.rmdir()

    def _publish(self) -> None:
        """Rename the staging folder into place; an earlier result steps aside first and comes back if that fails."""
        self._check_target()  # once more: a run may take long
        self.staging.chmod(0o755)
        if not self.target.exists():
            self.staging.rename(self.target)
            return
        aside = self.staging.with_name(f"{self.staging.name}-old")
        self.target.rename(aside)
        try:
            self.staging.rename(self.target)
        except BaseException:
            aside.rename(self.target)
            raise
        shutil.rmtree(aside, ignore_errors=True)

    def _check_target(self) -> None:
        """Raise InputError if results cannot be put there."""
        path = self.path
        if path.resolve() == Path.cwd():
            raise InputError(f"--out {path}", "is the folder that you are in; name another folder")
        if not path.exists():
            return
        if not path.is_dir():
            raise InputError(f"--out {path}", "is a file; name a folder")
        found = list(path.iterdir())
        if not found:
            return
        strange = sorted(item.name for item in found if item.name not in self._names or not item.is_file())
        if strange:
            listed = ", ".join(strange[:3]) + (", ..." if len(strange) > 3 else "")
            raise InputError(f"--out {path}", f"holds {listed}, which no {self._writer} wrote; name another folder")
        if not self._overwrite:
            raise InputError(f"--out {path}", "holds files already; name another folder, or add --overwrite")


def _not_written(path: Path, error: OSError | RuntimeError) -> InputError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return InputError(f"--out {path}", f"cannot be written: {reason}; name another folder")


def csv_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows as CSV text, the keys of the first as its head."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()
