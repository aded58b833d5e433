"""Mooncake's request traces: JSON lines of time in ms, lengths and the hashes of the prompt's blocks.

Source: kvcache-ai/Mooncake, FAST25-release/traces (arXiv 2407.00079).
Limits: `hash_ids`, the prefixes that prompts share, are not used.
"""

from collections.abc import Iterator

from simulator.workload.requests.lines import Lines, seconds_ns, whole_number
from simulator.workload.requests.objects import Objects, has_fields
from simulator.workload.requests.protocol import Entry, ReadOptions, RequestFormat

_FIELDS = ("timestamp", "input_length", "output_length")
_NS_PER_MS = 10**6


def _milliseconds(value: object) -> int:
    return seconds_ns(value, _NS_PER_MS)


def _read(lines: Lines, options: ReadOptions) -> Iterator[Entry]:
    category = options.category_field
    for line in Objects(lines, (*_FIELDS, *([category] if category else []))):
        yield Entry(
            line=line.number,
            column=line.column("timestamp"),
            time_ns=line.value("timestamp", _milliseconds),
            prompt_tokens=line.value("input_length", whole_number),
            output_tokens=line.value("output_length", whole_number),
            category=line.text_of(category),
        )


MOONCAKE = RequestFormat(
    description="Mooncake JSON lines: timestamp (ms), input_length, output_length",
    # Traces with a chat_id have these fields too, but times in seconds.
    recognises=lambda line: has_fields(line, _FIELDS) and not has_fields(line, ("chat_id",)),
    read=_read,
)
