"""Write a run's results: one folder, made whole under a temporary name and then renamed."""

import csv
import io
import json
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import yaml

from hardware_profiles.errors import InputError
from hardware_profiles.load import digest
from simulator.run import RunResult
from simulator.scenario import plain, relative_to

FILES = ("summary.json", "requests.csv", "layers.csv", "scenario.yaml", "provenance.json")
TIMELINE = "timeline.json.gz"


def summary_json(summary: Mapping[str, object]) -> str:
    """Return the summary as JSON text; the same run gives the same bytes."""
    return json.dumps(summary, indent=2, allow_nan=False) + "\n"


class ResultFolder:
    """A folder of results in the making. Use as a context manager: it appears whole, or not at all.

    `path` is refused if it is there already, unless `overwrite` is true and it holds nothing but results of a run. Raises
    InputError.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path = path
        self._overwrite = overwrite
        try:
            self._target = path.resolve()  # what a link points to is replaced, not the link
            _check_target(path, overwrite=overwrite)
            self._made = [folder for folder in self._target.parents if not folder.exists()]
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self.staging = Path(tempfile.mkdtemp(prefix=".moesim-", dir=self._target.parent))
        except (OSError, RuntimeError) as error:
            raise _not_written(path, error) from None

    def write(self, result: RunResult) -> None:
        """Write all but the timeline, which the run itself writes to `staging`."""
        texts = {
            "summary.json": summary_json(result.summary),
            "requests.csv": _csv(request_rows(result)),
            "layers.csv": _csv(list(result.layers)),
            "scenario.yaml": yaml.safe_dump(relative_to(plain(result.scenario), self._target), sort_keys=False),
            "provenance.json": json.dumps(provenance(result), indent=2) + "\n",
        }
        assert set(texts) == set(FILES)
        try:
            for name, text in texts.items():
                (self.staging / name).write_text(text, encoding="utf-8", newline="")
        except OSError as error:
            raise _not_written(self.path, error) from None

    def __enter__(self) -> "ResultFolder":
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
        _check_target(self.path, overwrite=self._overwrite)  # once more: a run may take long
        self.staging.chmod(0o755)
        if not self._target.exists():
            self.staging.rename(self._target)
            return
        aside = self.staging.with_name(f"{self.staging.name}-old")
        self._target.rename(aside)
        try:
            self.staging.rename(self._target)
        except BaseException:
            aside.rename(self._target)
            raise
        shutil.rmtree(aside, ignore_errors=True)


def request_rows(result: RunResult) -> list[dict[str, object]]:
    """Return one row per request that took a place in the batch. Times in ns from the start of the run."""
    rows: list[dict[str, object]] = []
    for request in result.requests:
        started, first, last = request.started_ns, request.first_token_ns, request.last_token_ns
        has_tokens = request.output_tokens > 0
        rows.append(
            {
                "request": request.index,
                "sequence": request.sequence,
                "prompt_tokens": request.prompt_tokens,
                "output_tokens": request.output_tokens,
                "finished": int(request.finished),
                "started_ns": started,
                "first_token_ns": first if has_tokens else "",
                "last_token_ns": last if has_tokens else "",
                "ttft_ns": first - started if has_tokens else "",
                "e2e_ns": last - started if request.finished else "",
            }
        )
    return rows


def provenance(result: RunResult) -> dict[str, object]:
    """Return what the run depended on: version and digests."""
    return {
        "moesim_version": version("moesim"),
        "trace": str(result.trace.path),
        "trace_sha256": result.trace.digest(),
        "trace_model": result.trace.metadata.model,
        "trace_source": result.trace.metadata.source,
        "hardware": result.profile.name,
        "hardware_sha256": digest(result.profile),
        "model": result.model.name,
    }


def _check_target(path: Path, *, overwrite: bool) -> None:
    """Raise InputError if results cannot be put at `path`."""
    if path.resolve() == Path.cwd():
        raise InputError(f"--out {path}", "is the folder that you are in; name another folder")
    if not path.exists():
        return
    if not path.is_dir():
        raise InputError(f"--out {path}", "is a file; name a folder")
    found = list(path.iterdir())
    if not found:
        return
    strange = sorted(item.name for item in found if item.name not in {*FILES, TIMELINE} or not item.is_file())
    if strange:
        listed = ", ".join(strange[:3]) + (", ..." if len(strange) > 3 else "")
        raise InputError(f"--out {path}", f"holds {listed}, which no run wrote; name another folder")
    if not overwrite:
        raise InputError(f"--out {path}", "holds files already; name another folder, or add --overwrite")


def _not_written(path: Path, error: OSError | RuntimeError) -> InputError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return InputError(f"--out {path}", f"cannot be written: {reason}; name another folder")


def _csv(rows: list[Mapping[str, object]] | list[dict[str, object]] | list[Mapping[str, int]]) -> str:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()
