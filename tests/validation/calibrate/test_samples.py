"""Samples on disk: what is written is read back, and what is of something else is refused."""

import json
from pathlib import Path

import pytest

from hardware_profiles.errors import InputError
from validation.calibrate.reference import Reference
from validation.calibrate.robust import Series, which_count
from validation.calibrate.samples import Samples, Taken, read_samples, samples_path, write_samples, write_text

REFERENCE = Reference(speed_ns=1.1e5, probes_ns=(1e5, 1.1e5, 1.2e5), began="2030-01-01T00:00:00+00:00")
IDENTITY = {"device": "a processor", "model": "tiny", "torch": "2.13.0"}


def some() -> Samples:
    """Return samples of one measurement."""
    series = [
        Series(
            at={"tokens": 2.0},
            samples={"time": [1e-3, 2.5e-3], "other": [1.0, 2.0]},
            ended_s=(0.5, 0.75),
            probes_ns=(1e5, 2e5),
            waited_fracs=(0.0, 0.25),
            reference_ns=1.1e5,
        )
    ]
    taken = {"expert.alone": Taken(series=series, began="2030-01-01T00:00:00+00:00", took_s=1.5)}
    return Samples(identity=IDENTITY, reference=REFERENCE, taken=taken)


def test_samples_come_back(tmp_path: Path) -> None:
    """Every sample, in order, with its point."""
    path = samples_path(tmp_path / "mine.yaml")
    assert path.name == "mine.samples.json"
    write_samples(some(), path)
    back = read_samples(path, IDENTITY)
    (one,) = back.taken["expert.alone"].series
    assert one.at == {"tokens": 2.0}
    assert {name: list(values) for name, values in one.samples.items()} == {"time": [1e-3, 2.5e-3], "other": [1.0, 2.0]}
    assert (one.ended_s, one.probes_ns, one.reference_ns) == ((0.5, 0.75), (1e5, 2e5), 1.1e5)
    assert one.waited_fracs == (0.0, 0.25)
    assert back.reference == REFERENCE
    assert (back.taken["expert.alone"].began, back.taken["expert.alone"].took_s) == ("2030-01-01T00:00:00+00:00", 1.5)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.samples.json"]


def test_samples_without_probes_come_back(tmp_path: Path) -> None:
    """Those of a device that is not probed: no reference, and all count."""
    path = tmp_path / "mine.samples.json"
    series = [Series(at={"tokens": 2.0}, samples={"time": [1e-3, 2e-3]}, ended_s=(0.5, 0.75))]
    taken = {"expert.alone": Taken(series=series, began="2030-01-01T00:00:00+00:00", took_s=1.5)}
    write_samples(Samples(identity=IDENTITY, taken=taken), path)
    back = read_samples(path, IDENTITY)
    assert back.reference is None
    assert which_count(back.taken["expert.alone"].series[0]) == [True, True]


@pytest.mark.parametrize("column", ["probes_ns", "waited_fracs", "ended_s"])
def test_a_probe_that_is_missing_is_told(tmp_path: Path, column: str) -> None:
    """Each sample has its own."""
    path = tmp_path / "mine.samples.json"
    write_samples(some(), path)
    values = json.loads(path.read_text(encoding="utf-8"))
    values["measurements"]["expert.alone"]["points"][0][column].pop()
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(InputError, match="does not hold the samples"):
        read_samples(path, IDENTITY)


def test_no_file_is_no_samples(tmp_path: Path) -> None:
    """A first calibration begins with none."""
    assert read_samples(tmp_path / "none.json", IDENTITY).taken == {}


def test_samples_of_something_else_are_refused(tmp_path: Path) -> None:
    """All that differs is named, with both values, and what to do."""
    path = tmp_path / "mine.samples.json"
    write_samples(some(), path)
    with pytest.raises(InputError) as raised:
        read_samples(path, IDENTITY | {"torch": "9.0", "dtype": "float32"})
    message = str(raised.value)
    assert "torch is '9.0' now, was '2.13.0'" in message
    assert "dtype is 'float32' now, was 'not there'" in message
    assert "--fresh" in message
    assert "model is" not in message


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "identity": {}, "measurements": {"a": 3}}']
)
def test_what_holds_no_samples_is_refused(tmp_path: Path, text: str) -> None:
    """With the file's name and a remedy, whatever is in it."""
    path = tmp_path / "mine.samples.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.samples\.json: .*--fresh"):
        read_samples(path, IDENTITY)


def test_samples_of_another_format_are_refused(tmp_path: Path) -> None:
    """A later version's."""
    path = tmp_path / "mine.samples.json"
    path.write_text(json.dumps({"format": 5, "identity": IDENTITY, "measurements": {}}), encoding="utf-8")
    with pytest.raises(InputError, match="has format 5, not 4"):
        read_samples(path, IDENTITY)


def test_what_was_there_stays_if_writing_fails(tmp_path: Path) -> None:
    """A folder in the way: nothing is lost, nothing is left behind."""
    (tmp_path / "page.html").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_text(tmp_path / "page.html", "text")
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
