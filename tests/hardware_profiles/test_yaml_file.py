"""The YAML reader: what it refuses, and that every fault of a file is told at once with its dotted key."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from hardware_profiles.errors import InputError
from hardware_profiles.profile import Bytes
from hardware_profiles.yaml_file import read_yaml, strict, validate


def _write(folder: Path, text: str | bytes) -> Path:
    path = folder / "machine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


_BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("gpu: 1\ngpu: 2\n", "(line 2, column 1): the key 'gpu' stands twice"),
        ("gpu:\n  a: 1\n  a: 2\n", "(line 3, column 3): the key 'a' stands twice"),
        (_BOMB, "anchors and aliases are not accepted"),
        (b"name: \xff\xfe\n", "is not UTF-8 text (byte 6)"),
        ("1: x\n", "the key 1 is not a string"),
        ("a: !!python/object/apply:os.system [ls]\n", "python/object/apply:os.system"),
        ("a: !mine 3\n", "could not determine a constructor"),
        ("<<: {a: 1}\n", "is not YAML that moesim reads"),
        ("a: [1, 2\n", "is not YAML that moesim reads"),
        ("- a\n- b\n", "should hold a mapping of keys to values, but holds list"),
        ("", "should hold a mapping of keys to values, but holds nothing"),
        ("a: 1\n---\nb: 2\n", "is not YAML that moesim reads"),
        ("a: " + "[" * 60 + "]" * 60, "is nested deeper than 32 levels"),
        ("a: " + "[" * 30_000 + "]" * 30_000, "is nested deeper than 32 levels"),
        ("a: '" + "x" * (1 << 20) + "'", "a configuration has at most 1048576"),
        ("a: \x00\n", "is not YAML that moesim reads"),
    ],
)
def test_refusals(tmp_path: Path, text: str | bytes, complaint: str) -> None:
    """A file that is not plain YAML is refused by name, and nothing in it is run or expanded."""
    path = _write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_yaml(path)
    assert complaint in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_directory_missing_and_endless_file(tmp_path: Path) -> None:
    """A directory, a missing file and an endless one are told apart."""
    with pytest.raises(InputError, match="is a directory; name a file in it"):
        read_yaml(tmp_path)
    with pytest.raises(InputError, match="no such file; check the path"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="is too large; a configuration has at most 1048576 bytes"):
        read_yaml(Path("/dev/zero"))


@strict
@dataclass(frozen=True)
class _Slot:
    memory: Bytes
    note: str | int = ""


@strict
@dataclass(frozen=True)
class _Rack:
    slot: _Slot
    spare: _Slot | None
    slots: tuple[_Slot | str, ...] = ()


def test_all_faults_at_once_with_plain_dotted_keys() -> None:
    """Unknown, missing and wrong keys are all told, without pydantic's names of union branches or functions."""
    figure = {"value": "1 GiB", "kind": "measured", "source": "here"}
    values = {
        "slot": {"memory": {**figure, "value": "1 GB/s"}, "note": [], "Colour": "red"},
        "spare": {"nota": 3},
        "slots": [{"memory": figure}, 7],
        "shelf": 1,
    }
    with pytest.raises(InputError) as caught:
        validate(TypeAdapter(_Rack), values, "rack.yaml")
    faults = caught.value.faults
    assert {fault.split(": ")[0] for fault in faults} == {
        "slot.memory",
        "slot.note",
        "slot.Colour",
        "spare.memory",
        "spare.nota",
        "slots.1",
        "shelf",
    }
    assert "shelf: unknown key; remove it or check its spelling" in faults
    assert "spare.memory: is missing" in faults
    assert any(fault.startswith("slot.memory: '1 GB/s' has the unit 'GB/s'") for fault in faults)
    assert "slots.1: 7 is not a group of keys; indent its keys below it" in faults
    assert str(caught.value).startswith(f"rack.yaml: {len(faults)} faults\n  - ")


def test_a_single_fault_stands_on_one_line() -> None:
    """One fault needs no list."""
    with pytest.raises(InputError) as caught:
        validate(TypeAdapter(_Rack), {"slot": 5, "spare": None}, "rack.yaml")
    assert str(caught.value) == "rack.yaml: slot: 5 is not a group of keys; indent its keys below it"
