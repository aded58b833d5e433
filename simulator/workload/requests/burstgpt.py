"""BurstGPT's request traces: CSV of time in s, model, tokens and kind of log.

Failed requests have 0 response tokens. Later releases name the session of a conversation.

Source: HPMLL/BurstGPT (arXiv 2401.17644).
Limits: a session's name becomes a number, by hash where it is no number itself.
"""

import hashlib
from collections.abc import Iterator

from simulator.workload.requests.lines import Lines, seconds_ns
from simulator.workload.requests.protocol import Entry, ReadOptions, RequestFormat
from simulator.workload.requests.table import Table, cells, has_columns

_COLUMNS = ("Timestamp", "Request tokens", "Response tokens")
_SESSION = "Session ID"


def session_number(name: str | None) -> int | None:
    """Return a session's number: the name itself if it is one, else 48 bits of its hash."""
    if name is None:
        return None
    if name.isascii() and name.isdecimal() and len(name) < 15:
        return int(name)
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest(), "big")


def _read(lines: Lines, options: ReadOptions) -> Iterator[Entry]:
    category = options.category_field
    header = next(iter(lines), (1, ""))[1]
    session = _SESSION if _SESSION in cells(header) else None
    for row in Table(lines, tuple(name for name in (*_COLUMNS, session, category) if name)):
        yield Entry(
            line=row.number,
            column=row.column("Timestamp"),
            time_ns=row.value("Timestamp", seconds_ns),
            prompt_tokens=row.tokens("Request tokens"),
            output_tokens=row.tokens("Response tokens"),
            category=row.text_of(category),
            session=session_number(row.text_of(session)),
        )


BURSTGPT = RequestFormat(
    description="BurstGPT CSV: Timestamp (s), Request tokens, Response tokens; Session ID where there is one",
    recognises=lambda line: has_columns(line, _COLUMNS),
    read=_read,
)
