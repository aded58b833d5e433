"""An open workload that a request trace tells."""

from collections.abc import Iterator, Sequence
from operator import attrgetter
from pathlib import Path

from hardware_profiles.errors import InputError
from hardware_profiles.suggest import one_of
from simulator.workload.arrivals import Arrival
from simulator.workload.requests import FORMATS
from simulator.workload.requests.lines import Lines
from simulator.workload.requests.protocol import Entry, ReadOptions, RequestFormat

_DEFAULT_OPTIONS = ReadOptions()


class RecordedRequests:
    """The requests of a file, read as they are asked for; the first arrives at 0, the seed changes nothing.

    The format is told by the first line where `format_name` is None. A file is to be in order of time, unless `sort`, which
    reads all of it into memory. Requests without a token of prompt or of output (failed ones) are left out and counted, or
    refused unless `leave_out_empty`. Raises InputError, for a fault within the file with its line and column.
    """

    def __init__(
        self,
        path: Path,
        *,
        format_name: str | None = None,
        options: ReadOptions = _DEFAULT_OPTIONS,
        sort: bool = False,
        leave_out_empty: bool = True,
    ) -> None:
        self.path = path
        self._lines = Lines(path)
        self.format_name = format_name or recognised(self._lines)
        self._format = named_format(self.format_name)
        self._options, self._sort, self._leave_out_empty = options, sort, leave_out_empty
        self._num_left_out = 0

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        """Yield the requests in order of time. Raises InputError."""
        del seed
        first_ns: int | None = None
        last_ns = 0
        for entry in self._timed():
            time_ns = entry.time_ns
            assert time_ns is not None
            if first_ns is None:
                first_ns = last_ns = time_ns
            if time_ns < last_ns:
                raise self._lines.fault(
                    entry.line,
                    entry.column,
                    f"is {(last_ns - time_ns) / 1e9:.9g} s before the request above; sort the file by time, or set sort",
                )
            last_ns = time_ns
            yield Arrival(
                arrival_ns=time_ns - first_ns,
                prompt_tokens=entry.prompt_tokens,
                output_tokens=entry.output_tokens,
                category=entry.category,
                session=entry.session,
            )

    def has_times(self) -> bool:
        """Tell whether the first request has a time of arrival. Raises InputError."""
        entry = next(iter(self._format.read(self._lines, self._options)), None)
        return entry is not None and entry.time_ns is not None

    def lengths(self) -> Iterator[tuple[int, int]]:
        """Yield (prompt tokens, output tokens) in the order of the file, which needs no times. Raises InputError."""
        for entry in self._entries():
            yield entry.prompt_tokens, entry.output_tokens

    def notes(self) -> Sequence[str]:
        """Return what was left out, not used or assumed in the file as far as it was last read."""
        left_out = f"{self._num_left_out:,} requests without a token of prompt or of output are left out"
        notes = [*([left_out] if self._num_left_out else []), *self._lines.notes]
        return [f"{self.path.name}: {note}" for note in notes]

    def _timed(self) -> Iterator[Entry]:
        entries = map(self._require_time, self._entries())
        return iter(sorted(entries, key=attrgetter("time_ns"))) if self._sort else entries

    def _entries(self) -> Iterator[Entry]:
        self._num_left_out = 0
        for entry in self._format.read(self._lines, self._options):
            if entry.prompt_tokens and entry.output_tokens:
                yield entry
            elif self._leave_out_empty:
                self._num_left_out += 1
            else:
                raise self._lines.fault(
                    entry.line,
                    entry.column,
                    f"the request has {entry.prompt_tokens} prompt and {entry.output_tokens} output tokens; "
                    "a request has at least one of each: leave it out",
                )

    def _require_time(self, entry: Entry) -> Entry:
        if entry.time_ns is None:
            raise self._lines.fault(
                entry.line,
                entry.column,
                "the request has no time of arrival; draw lengths from this file (lengths: {file: ...}), and name a process "
                "for arrivals",
            )
        return entry


def named_format(name: str) -> RequestFormat:
    """Return a format. Raises InputError if there is none of that name."""
    if name not in FORMATS:
        raise InputError("format", f"{name!r} is not known; {one_of(name, FORMATS)}")
    return FORMATS[name]


def recognised(lines: Lines) -> str:
    """Return the name of the format that knows a file's first line. Raises InputError."""
    number, text = next(iter(lines), (1, ""))
    if not text:
        raise lines.fault(1, 1, "the file is empty")
    for name, request_format in FORMATS.items():
        if request_format.recognises(text):
            return name
    if text.lstrip().startswith("["):
        raise lines.fault(number, 1, "begins a JSON array; write one object per line, as `jq -c '.[]'` does")
    known = [f"{name}: {request_format.description}" for name, request_format in FORMATS.items()]
    raise InputError(
        f"{lines.path}:{number}:1", [f"is of no format that moesim knows ({text[:60]!r}); it knows:", *known]
    )
