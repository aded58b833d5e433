"""Write an explanation: a folder with its figures, its page, and the results of its runs, so that it can go on."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from hardware_profiles.errors import InputError
from simulator.results import summary_json
from traces.format import write_text_atomically

STORE = "store"
_FIGURES, _PAGE = "explain.json", "explain.html"
_DEFINED_BY = ("source", "given", "scenario", "share")

Facts = Mapping[str, object]


class ExplanationFolder:
    """The folder of an explanation. One that holds anything else is refused, one of another run as well unless `overwrite`.

    Raises InputError.
    """

    def __init__(self, path: Path, definition: Facts, *, overwrite: bool) -> None:
        self.path = path
        try:
            self._check(_plain({key: definition[key] for key in _DEFINED_BY}), overwrite=overwrite)
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._not_written(error) from None

    def write(self, facts: Facts) -> None:
        """Write figures and page, each whole or not at all. Raises InputError."""
        from simulator.explain.page import explanation_page

        try:
            write_text_atomically(self.path / _FIGURES, summary_json(facts))
            write_text_atomically(self.path / _PAGE, explanation_page(facts))
        except OSError as error:
            raise self._not_written(error) from None

    def _check(self, definition: object, *, overwrite: bool) -> None:
        path = self.path
        if not path.exists():
            return
        if not path.is_dir():
            raise InputError(f"--out {path}", "is a file; name a folder")
        known = {_FIGURES, _PAGE, STORE}
        found = [item.name for item in path.iterdir()]
        strange = sorted(name for name in found if name not in known and not name.startswith(".explain."))
        if strange:
            listed = ", ".join(strange[:3]) + (", ..." if len(strange) > 3 else "")
            raise InputError(f"--out {path}", f"holds {listed}, which no explanation wrote; name another folder")
        there = path / _FIGURES
        if there.exists() and not overwrite and _defined(there) != definition:
            raise InputError(
                f"--out {path}", "holds the explanation of another run; name another folder, or add --overwrite"
            )

    def _not_written(self, error: OSError) -> InputError:
        return InputError(f"--out {self.path}", f"cannot be written: {error.strerror}; name another folder")


def _defined(figures: Path) -> object:
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        facts = json.loads(figures.read_text(encoding="utf-8"))
        return {key: facts[key] for key in _DEFINED_BY}
    return None


def _plain(value: object) -> object:
    return json.loads(json.dumps(value))
