"""What a comparison asks of whoever replays a configuration on a real device. Replays lie on disk, one file each."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from hardware_profiles.errors import InputError
from traces.format import open_trace, write_text_atomically
from validation.compare.facts import commit_facts
from validation.compare.suite import Configuration, SuiteModel, plain
from validation.replay.measured_step import MeasuredStep


class Replayed(Protocol):
    """One configuration, run once: the metrics of `simulator.metrics.summary.summarise`, from what was measured.

    `steps` are all of its steps, warm-up included. `recording_frac` is the time spent on recording what happened, as a share
    of the run; `num_other_picks` the tokens, over all layers, for which the model's own gates picked other experts than the
    trace has.
    """

    @property
    def summary(self) -> Mapping[str, object]: ...

    @property
    def steps(self) -> Sequence[MeasuredStep]: ...

    @property
    def recording_frac(self) -> float: ...

    @property
    def num_other_picks(self) -> int: ...


Replay = Callable[[Configuration, Path | None], Replayed]
"""Replays a configuration once; called with the path of the timeline to write, or None."""


class Backend(Protocol):
    """A device that replays. `device` is `cpu` or `cuda:N`, `device_name` that of the processor or GPU."""

    @property
    def device(self) -> str: ...

    @property
    def device_name(self) -> str: ...

    def record(self, name: str, model: SuiteModel, target: Path) -> None:
        """Write the trace of a model's own routing of its sequences, with lookahead, to `target`."""

    def open(self, name: str, model: SuiteModel) -> AbstractContextManager[Replay]:
        """Build a model, once for all its configurations, and replay on it."""


_STEP_FIELDS = tuple(one.name for one in fields(MeasuredStep))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A replay as it lies on disk, with the commit (`validation.compare.facts.commit_facts`) and the date of its making."""

    commit: Mapping[str, object]
    date: str
    summary: Mapping[str, object]
    steps: Sequence[MeasuredStep]
    recording_frac: float
    num_other_picks: int


class ReplayFolder:
    """The finished replays of a suite: `<configuration>/<round>.json`. What is there need not be run again.

    Each says of which configuration, device and trace it is; one of another is refused, not taken for this one.
    """

    def __init__(self, folder: Path, *, device_name: str) -> None:
        self._folder = folder
        self._device_name = device_name
        self._commit = commit_facts()  # of the code that runs, whatever is checked out while it does
        self._digests: dict[Path, str] = {}

    def has(self, configuration: Configuration, round_: int) -> bool:
        """Tell whether a replay has been finished."""
        return self._path(configuration, round_).exists()

    def write(self, configuration: Configuration, round_: int, replayed: Replayed) -> None:
        """Keep a finished replay: under a temporary name, then renamed."""
        path = self._path(configuration, round_)
        values = {
            "fingerprint": self._fingerprint(configuration),
            "commit": self._commit,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "recording_frac": replayed.recording_frac,
            "num_other_picks": replayed.num_other_picks,
            "summary": dict(replayed.summary),
            "steps": {name: [getattr(step, name) for step in replayed.steps] for name in _STEP_FIELDS},
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text_atomically(path, json.dumps(values, indent=1, allow_nan=False) + "\n")
        except OSError as error:
            raise InputError(path, f"cannot be written: {error.strerror}; make room") from None

    def read(self, configuration: Configuration, num_rounds: int) -> Sequence[Stored]:
        """Return the replays of a configuration that are there, of rounds 0 to `num_rounds - 1`. Raises InputError."""
        return [self._read(configuration, r) for r in range(num_rounds) if self.has(configuration, r)]

    def _read(self, configuration: Configuration, round_: int) -> Stored:
        path = self._path(configuration, round_)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            fingerprint, summary = values["fingerprint"], values["summary"]
            commit, date = dict(values["commit"]), str(values["date"])
            frac, other_picks = float(values["recording_frac"]), int(values["num_other_picks"])
            columns = [values["steps"][name] for name in _STEP_FIELDS]
            steps = [MeasuredStep(**dict(zip(_STEP_FIELDS, step, strict=True))) for step in zip(*columns, strict=True)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(path, f"is not a replay that moesim wrote ({error}); delete it") from None
        if fingerprint != self._fingerprint(configuration):
            raise InputError(
                path,
                f"is a replay on another device, of another trace, or of what {configuration.id} was before the suite "
                "changed; name another folder, or delete it",
            )
        return Stored(
            commit=commit,
            date=date,
            summary=summary,
            steps=steps,
            recording_frac=frac,
            num_other_picks=other_picks,
        )

    def _path(self, configuration: Configuration, round_: int) -> Path:
        return self._folder / configuration.id / f"{round_}.json"

    def _fingerprint(self, configuration: Configuration) -> str:
        """Return a digest of all that a replay depends on, but for the machine's mood."""
        trace = configuration.trace
        if trace not in self._digests:
            self._digests[trace] = open_trace(trace).digest()
        values = plain(configuration)
        model = values["model"]
        assert isinstance(model, dict)
        located = {"config", "checkpoint", "trace"}  # the same suite from another folder is the same suite
        values["model"] = {key: value for key, value in model.items() if key not in located}
        values["model_is"] = Path(str(model["config"] or model["checkpoint"])).name
        values |= {"device_name": self._device_name, "trace_sha256": self._digests[trace]}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
