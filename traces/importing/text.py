"""Read lines and JSON of foreign files, with bounds and with the line in every message."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.errors import TraceError
from traces.importing.options import ImportOptions

_MAX_LINE_BYTES = 1 << 30
_LINES_PER_REPORT = 1 << 12


def read_lines(path: Path, options: ImportOptions) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end), blank lines left out. Raises TraceError, OSError."""
    num_bytes = path.stat().st_size
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > _MAX_LINE_BYTES:
                raise TraceError(path, f"line {number} is longer than {_MAX_LINE_BYTES} bytes; is it of this format?")
            if options.progress and number % _LINES_PER_REPORT == 0:
                options.progress(file.tell(), num_bytes)
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError:
                raise TraceError(path, f"line {number} is not UTF-8 text: {line[:40]!r}") from None
            if text:
                yield number, text


def read_json(path: Path, options: ImportOptions) -> object:
    """Return a JSON file's content. Raises TraceError, OSError."""
    num_bytes = path.stat().st_size
    if num_bytes > options.max_bytes:
        raise TraceError(path, f"has {num_bytes} bytes, more than the {options.max_bytes} allowed: raise --max-gib")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise TraceError(path, f"is not JSON: {error}") from None


def parse_object(path: Path, number: int, text: str) -> dict[str, Any]:
    """Return the JSON object of one line. Raises TraceError."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TraceError(path, f"line {number} is not JSON ({error}): {text[:60]!r}") from None
    if not isinstance(parsed, dict):
        raise TraceError(path, f"line {number} should be a JSON object: {text[:60]!r}")
    return parsed


def to_array(path: Path, where: str, nested: object, *, integers: bool) -> NDArray[Any]:
    """Return nested JSON lists as an array. Raises TraceError if they are ragged or hold other than numbers."""
    try:
        array = np.asarray(nested)
    except ValueError:
        raise TraceError(path, f"{where} is ragged: its inner lists differ in length") from None
    if array.dtype.kind not in ("iu" if integers else "iuf") and array.size:
        wanted = "whole numbers" if integers else "numbers"
        raise TraceError(path, f"{where} should hold {wanted}, not {str(nested)[:60]}")
    return array.astype(np.int64 if integers else np.float64)


def to_int(path: Path, where: str, value: object) -> int:
    """Return a whole number, or text that is one, within int64. Raises TraceError."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -(1 << 63) <= value < 1 << 63:
        raise TraceError(path, f"{where} is {str(value)[:40]!r}; it should be a whole number")
    return value


def to_float(path: Path, where: str, value: object) -> float:
    """Return a number, or text that is one. Raises TraceError."""
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    raise TraceError(path, f"{where} is {str(value)[:40]!r}; it should be a number")
