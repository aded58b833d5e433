"""Dates with a time of day, to the nanosecond."""

import re
from datetime import date
from functools import lru_cache

from simulator.workload.requests.lines import shown

_TIMESTAMP = re.compile(
    r"(\d{4}-\d{2}-\d{2})[ T](\d{2}):(\d{2}):(\d{2})(?:[.,](\d{1,9}))?(?:Z| ?UTC|([+-])(\d{2}):?(\d{2}))?", re.ASCII
)


def timestamp_ns(value: object) -> int:
    """Return ns since the year 1 of `2023-11-16 18:15:46.6805900`, in UTC where an offset is given. Raises ValueError."""
    match = _TIMESTAMP.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(f"{shown(value)} is not a date and time such as 2023-11-16 18:15:46.68")
    day, hour, minute, second, fraction, sign, offset_h, offset_min = match.groups()
    if int(hour) > 23 or int(minute) > 59 or int(second) > 60:
        raise ValueError(f"{shown(value)} is not a date and time: hours end at 23, minutes at 59")
    seconds = (_days(day) * 24 + int(hour)) * 3600 + int(minute) * 60 + int(second)
    if sign:
        offset_s = int(offset_h) * 3600 + int(offset_min) * 60
        seconds += -offset_s if sign == "+" else offset_s
    return seconds * 10**9 + int((fraction or "0").ljust(9, "0"))


@lru_cache(maxsize=64)
def _days(day: str) -> int:
    try:
        return date.fromisoformat(day).toordinal()
    except ValueError as error:
        raise ValueError(f"{day!r} is not a date: {error}") from None
