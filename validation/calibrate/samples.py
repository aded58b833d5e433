"""The samples of a calibration on disk, next to the profile: evidence, and what a killed calibration goes on from.

One JSON file, rewritten whole (under a temporary name, then renamed) after each measurement that has ended. It says on
which machine, for which model and with which versions it was measured; samples of another are refused.
"""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hardware_profiles.errors import InputError
from validation.calibrate.reference import Reference
from validation.calibrate.robust import Series

FORMAT = 4
Identity = Mapping[str, str]
"""What the samples belong to, by name (`cpu`, `torch`, `model`, ...), in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One measurement that has ended: its series, when it began (UTC, ISO 8601) and how long it took."""

    series: Sequence[Series]
    began: str
    took_s: float


@dataclass(slots=True, kw_only=True)
class Samples:
    """All measurements of a calibration so far, by name, in the order in which they ended.

    `reference` is the speed at which their samples count; None where the machine is not probed.
    """

    identity: Identity
    reference: Reference | None = None
    taken: dict[str, Taken] = field(default_factory=dict)


def samples_path(profile: Path) -> Path:
    """Return where the samples of a profile lie: PROFILE.samples.json for PROFILE.yaml."""
    return profile.with_suffix(".samples.json")


def write_samples(samples: Samples, path: Path) -> None:
    """Write all samples. Raises InputError where that cannot be done; what was there before then stays."""
    values = {
        "format": FORMAT,
        "identity": dict(samples.identity),
        "reference": None if samples.reference is None else asdict(samples.reference),
        "measurements": {
            name: {
                "began": taken.began,
                "took_s": taken.took_s,
                "points": [_point(one) for one in taken.series],
            }
            for name, taken in samples.taken.items()
        },
    }
    write_text(path, json.dumps(values, allow_nan=False) + "\n")


def read_samples(path: Path, identity: Identity) -> Samples:
    """Read the samples at `path`; none where there is no file.

    Raises InputError for a file that is not one, and for samples whose identity is not `identity`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Samples(identity=identity)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, f"cannot be read ({error}); start anew with --fresh") from None
    try:
        values = json.loads(text)
        found, measurements = values["identity"], values["measurements"]
        if values["format"] != FORMAT:
            raise InputError(path, f"has format {values['format']!r}, not {FORMAT}; start anew with --fresh")
        reference = _reference(values["reference"])
        taken = {name: _taken(entry, reference) for name, entry in measurements.items()}
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(path, "does not hold the samples of a calibration; start anew with --fresh") from None
    differing = [
        f"{key} is {identity.get(key, 'not there')!r} now, was {found.get(key, 'not there')!r}"
        for key in sorted({*identity, *found})
        if identity.get(key) != found.get(key)
    ]
    if differing:
        raise InputError(
            path,
            f"holds samples that do not belong to this calibration: {'; '.join(differing)}; "
            "start anew with --fresh, or write to another --out",
        )
    return Samples(identity=identity, reference=reference, taken=taken)


def write_text(path: Path, text: str) -> None:
    """Write a file under a temporary name beside it, then rename it. Raises InputError."""
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".moesim-", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            with suppress(OSError):
                Path(temporary).unlink()
        raise InputError(path, f"cannot be written: {error.strerror}; name another place with --out") from None


def _reference(entry: Mapping[str, object] | None) -> Reference | None:
    if entry is None:
        return None
    probes_ns, speed_ns = entry["probes_ns"], float(str(entry["speed_ns"]))
    if not isinstance(probes_ns, list) or not speed_ns > 0:
        raise ValueError("no reference")
    return Reference(speed_ns=speed_ns, probes_ns=_floats(probes_ns), began=str(entry["began"]))


def _taken(entry: Mapping[str, object], reference: Reference | None) -> Taken:
    points = entry["points"]
    assert isinstance(points, list)
    series = [
        Series(
            at={str(key): float(value) for key, value in point["at"].items()},
            samples={str(key): _floats(values) for key, values in point["samples_s"].items()},
            ended_s=_floats(point["ended_s"]),
            probes_ns=_floats(point["probes_ns"]),
            waited_fracs=_floats(point["waited_fracs"]),
            reference_ns=reference.speed_ns if reference is not None else None,
        )
        for point in points
    ]
    for one in series:
        columns = [
            *one.samples.values(),
            one.ended_s,
            *([one.probes_ns, one.waited_fracs] if reference is not None else []),
        ]
        if not one.samples or len({len(values) for values in columns}) != 1:
            raise ValueError("not one time of its end, one probe and one wait for each sample")
    return Taken(series=series, began=str(entry["began"]), took_s=float(str(entry["took_s"])))


def _point(one: Series) -> dict[str, object]:
    return {
        "at": dict(one.at),
        "samples_s": {name: list(values) for name, values in one.samples.items()},
        "ended_s": [round(seconds, 4) for seconds in one.ended_s],
        "probes_ns": list(one.probes_ns),
        "waited_fracs": [round(frac, 5) for frac in one.waited_fracs],
    }


def _floats(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
