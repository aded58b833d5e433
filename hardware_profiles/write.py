"""Write a machine as the YAML that `load_profile` reads back equal, as calibration does.

    write_profile(profile, Path("mine.yaml"))

Limits: an existing file's comments and order are not kept; a figure's text is written as it stands, so it has to say
the figure's value.
"""

import os
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path

import yaml

from hardware_profiles.errors import InputError
from hardware_profiles.load import profile_of
from hardware_profiles.profile import Constant, Duration, Figure, HardwareProfile
from hardware_profiles.quantity import Dimension, format_quantity
from hardware_profiles.schema import DTYPES, Place, places
from hardware_profiles.yaml_file import parse_yaml

_WIDTH = 120
_READABLE = 0o644  # temporary files are private; what is renamed into place is not


def write_profile(profile: HardwareProfile, path: Path, *, overwrite: bool = False) -> None:
    """Write `profile_yaml(profile)`: to a temporary name beside `path`, then renamed.

    Raises InputError where `path` is there already, unless `overwrite`, and where it cannot be written; what
    `profile_yaml` raises besides.
    """
    text = profile_yaml(profile, source=path)
    if path.is_dir():
        raise InputError(path, "is a directory; name a file in it")
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            Path(temporary).chmod(_READABLE)
            _rename(Path(temporary), path, overwrite=overwrite)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except FileExistsError:
        raise InputError(path, "is there already; name another file, or say that it may be overwritten") from None
    except OSError as error:
        raise InputError(path, f"cannot be written: {error.strerror}") from None


def _rename(written: Path, path: Path, *, overwrite: bool) -> None:
    """Move a file into place; without `overwrite`, raise FileExistsError if something is there."""
    if overwrite:
        written.replace(path)
        return
    try:
        path.hardlink_to(written)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(path) from None
        written.replace(path)


def profile_yaml(profile: HardwareProfile, *, source: str | Path = "profile") -> str:
    """Return a profile as YAML with a header of its name and description.

    Raises InputError, naming `source`, for a profile that the loader would refuse, and ValueError for one that it would
    read back otherwise: a text that does not say its figure's value, tokens that are no whole numbers.
    """
    text = "\n".join([*_header(profile), *_body(profile)]) + "\n"
    values = parse_yaml(text, source)
    assert isinstance(values, dict), "the body has keys"
    if profile_of(values, str(source)) != profile:
        raise ValueError(f"{source}: the profile {profile.name!r} would not be read back as it is")
    return text


def _header(profile: HardwareProfile) -> Iterator[str]:
    """Yield comments, one paragraph, of what can be printed."""
    words = " ".join(f"{profile.name}: {profile.description}".split())
    printable = "".join(character for character in words if character.isprintable())
    yield from textwrap.wrap(printable, _WIDTH, initial_indent="# ", subsequent_indent="# ")
    yield ""


def _body(profile: HardwareProfile) -> Iterator[str]:
    open_groups: list[str] = []
    for path, place in places().items():
        value: object = reduce(getattr, path.split("."), profile)
        if value is None:
            continue
        *groups, key = path.split(".")
        for depth, group in enumerate(groups):
            if open_groups[: depth + 1] != groups[: depth + 1]:
                if depth == 0:
                    yield ""
                yield f"{'  ' * depth}{group}:"
        open_groups = groups
        yield from _entry(key, value, place, "  " * len(groups))


def _entry(key: str, value: object, place: Place, indent: str) -> Iterator[str]:
    """Yield the lines of what stands at one path."""
    below = indent + "  "
    if isinstance(value, dict):
        yield f"{indent}{key}:" if value else f"{indent}{key}: {{}}"
        for name, figure in value.items():
            yield f"{below}{name if name in DTYPES else _quoted(name)}:"
            yield from _figure(figure, below + "  ")
    elif isinstance(value, Figure):
        yield f"{indent}{key}:"
        yield from _figure(value, below)
    elif isinstance(value, Duration):
        yield f"{indent}{key}:"
        yield from _duration(value, place.amount or "", below)
    else:
        yield f"{indent}{key}: {_quoted(str(value))}"


def _figure(figure: Figure, indent: str) -> Iterator[str]:
    yield f"{indent}value: {_quoted(figure.text)}"
    yield from _provenance(figure, indent)


def _duration(duration: Duration, amount: str, indent: str) -> Iterator[str]:
    """Yield a constant, or a table as two lists; then the same for other weights."""
    if duration.weights_bytes is not None:
        yield f"{indent}weights: {_quoted(format_quantity(duration.weights_bytes, Dimension.BYTES))}"
    if isinstance(duration, Constant):
        yield f"{indent}constant: {_quoted(format_quantity(duration.seconds, Dimension.SECONDS))}"
    else:
        yield from _list(amount, [_amount(value, amount) for value in duration.amounts], indent)
        times = [_quoted(format_quantity(seconds, Dimension.SECONDS)) for seconds in duration.seconds]
        yield from _list("time", times, indent)
    yield from _provenance(duration, indent)
    if duration.other_weights:
        yield f"{indent}other_weights:"
    for other in duration.other_weights:
        first, *rest = _duration(other, amount, indent + "    ")
        yield f"{indent}  - {first.lstrip()}"
        yield from rest


def _amount(value: float, amount: str) -> str:
    if amount == "bytes":
        return _quoted(format_quantity(value, Dimension.BYTES))
    if value != int(value):
        raise ValueError(f"{value!r} {amount} is not a whole number")
    return str(int(value))


def _list(key: str, items: Sequence[str], indent: str) -> Iterator[str]:
    """Yield a list in brackets, broken between items where a line is full."""
    line = f"{indent}{key}: ["
    for number, item in enumerate(items, start=1):
        ending = "]" if number == len(items) else ","
        if len(line) + len(item) + 2 > _WIDTH:
            yield line.rstrip()
            line = f"{indent}  "
        line += f"{item}{ending}" if ending == "]" else f"{item}{ending} "
    yield line


def _provenance(known: Figure | Duration, indent: str) -> Iterator[str]:
    yield f"{indent}kind: {known.kind}"
    yield f"{indent}source: {_quoted(known.source)}"


def _quoted(text: str) -> str:
    """Write text in double quotes, on one line, whatever it holds."""
    return str(yaml.safe_dump(text, default_style='"', allow_unicode=True, width=float("inf"))).rstrip("\n")
