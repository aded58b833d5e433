"""Put the timelines of several runs into one file, one process each, so that Perfetto shows them one above the other.

The files hold one event per line (`simulator.timeline`), so they are merged line by line: memory does not grow with the
runs, and times stay as they were written. Each process keeps its tracks and counters; the ids of its flows are made
different from those of the others.

Limits: only files that `simulator.timeline.Timeline` wrote; each run's times count from its own start.
"""

import gzip
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from json import dumps
from pathlib import Path

from hardware_profiles.errors import InputError

_HEADER = '{"displayTimeUnit":"ns","traceEvents":['
_FOOTER = "]}"
# Inside a JSON string a quote is escaped, so these match keys alone.
_PROCESS = re.compile(r'"pid":\d+')
_FLOW = re.compile(r'(?<=[,{])"id":(\d+)')
_PROCESS_NAME = '{"ph":"M","name":"process_name",'


def merge_timelines(target: Path, parts: Sequence[tuple[str, Path]]) -> None:
    """Write `target` from the timelines `parts`, each with the name that its process shall have, in the order of display.

    The file appears whole or not at all, and the same parts give the same bytes. Raises InputError for a part that is not a
    whole timeline, or if the disk refuses.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    temporary = Path(name)
    try:
        with (
            os.fdopen(descriptor, "wb") as binary,
            gzip.GzipFile(filename="", mode="wb", fileobj=binary, compresslevel=5, mtime=0) as merged,
        ):
            merged.write(_HEADER.encode())
            separator = ""
            for index, (process_name, path) in enumerate(parts):
                for event in _process_events(path, process_name, index, len(parts)):
                    merged.write(f"{separator}{event}".encode())
                    separator = ",\n"
            merged.write(f"{_FOOTER}\n".encode())
        temporary.chmod(0o644)
        temporary.replace(target)
    except OSError as error:
        raise InputError(target, f"cannot be written: {error.strerror or error}; make room") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _process_events(path: Path, process_name: str, index: int, num_parts: int) -> Iterator[str]:
    """Yield the events of a part as those of process `index + 1`; flow n becomes one of n * num_parts + index."""
    process = f'"pid":{index + 1}'

    def flow(match: re.Match[str]) -> str:
        return f'"id":{int(match[1]) * num_parts + index}'

    for event in _events(path):
        if event.startswith(_PROCESS_NAME):
            common = f'{process},"tid":0,"ts":0.000'
            yield f'{_PROCESS_NAME}{common},"args":{{"name":{dumps(process_name)}}}}}'
            yield f'{{"ph":"M","name":"process_sort_index",{common},"args":{{"sort_index":{index + 1}}}}}'
        else:
            moved = _PROCESS.sub(process, event, count=1)
            yield _FLOW.sub(flow, moved, count=1) if event.startswith(('{"ph":"s"', '{"ph":"f"')) else moved


def _events(path: Path) -> Iterator[str]:
    """Yield the events of a timeline's file as they are written, without what divides them."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
            first = file.readline()
            if not first.startswith(_HEADER):
                raise InputError(path, "is not a timeline that moesim wrote; write it again")
            line, is_whole = first.removeprefix(_HEADER), False
            while line:
                text = line.rstrip("\n")
                is_whole = text.endswith(_FOOTER)
                yield text.removesuffix(_FOOTER).removesuffix(",")
                line = file.readline()
            if not is_whole:
                raise InputError(path, "ends before its last event; write it again")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(path, f"cannot be read as a timeline: {error}; write it again") from None
