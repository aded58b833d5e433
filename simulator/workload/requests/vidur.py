"""Vidur's request traces: CSV of time in s, prefill and decode tokens; its processed lengths have no times.

Source: microsoft/vidur, data/processed_traces and its trace request generators (arXiv 2405.05465).
"""

from collections.abc import Iterator

from simulator.workload.requests.lines import Lines, seconds_ns
from simulator.workload.requests.protocol import Entry, ReadOptions, RequestFormat
from simulator.workload.requests.table import Table, cells, has_columns

_LENGTHS = ("num_prefill_tokens", "num_decode_tokens")
_TIME = "arrived_at"


def _read(lines: Lines, options: ReadOptions) -> Iterator[Entry]:
    category = options.category_field
    header = next(iter(lines), (1, ""))[1]
    time = _TIME if _TIME in cells(header) else None
    used = tuple(name for name in (*_LENGTHS, time, category) if name)
    for row in Table(lines, used, ("num_total_tokens", "pd_ratio", "")):  # "": the index that pandas writes
        yield Entry(
            line=row.number,
            column=row.column(time) if time else 1,
            time_ns=row.value(time, seconds_ns) if time else None,
            prompt_tokens=row.tokens("num_prefill_tokens"),
            output_tokens=row.tokens("num_decode_tokens"),
            category=row.text_of(category),
        )


VIDUR = RequestFormat(
    description="Vidur CSV: num_prefill_tokens, num_decode_tokens; arrived_at (s) where there are times",
    recognises=lambda line: has_columns(line, _LENGTHS),
    read=_read,
)
