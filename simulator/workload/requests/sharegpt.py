"""Conversations as JSON lines: who said what, in turns.

A line is `{"id": ..., "timestamp": ..., "conversations": [{"from": "human", "value": ...}, {"from": "gpt", ...}]}`;
`messages`, `role` and `content` are read as well. Each answer is a request whose prompt is all that was said before it. A
turn's `tokens` is its length; where it is missing, characters stand for tokens, which is an assumption and is noted.
A `timestamp`, of the conversation or of a question, is seconds or a date and time; most such files have none.

Source: the ShareGPT_Vicuna_unfiltered data set; that a request is the first question with its answer is what vLLM's
serving benchmark makes of it.
Limits: one number of characters for a token, for all languages; what a chat template adds is not counted.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil

from simulator.workload.requests.burstgpt import session_number
from simulator.workload.requests.lines import Lines, seconds_ns, shown, whole_number
from simulator.workload.requests.objects import Line, Objects, has_fields
from simulator.workload.requests.protocol import Entry, ReadOptions, RequestFormat
from simulator.workload.requests.timestamps import timestamp_ns

_TURNS = ("conversations", "messages")
_ASKS = ("human", "user", "system", "tool")
_ANSWERS = ("gpt", "assistant", "chatgpt", "bing", "bard", "model")


def _turns(value: object) -> Sequence[Mapping[str, object]]:
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        raise ValueError(f"{shown(value)} should be a list of turns, each an object")
    return value


def _time(value: object) -> int:
    return timestamp_ns(value) if isinstance(value, str) and "-" in value[1:] else seconds_ns(value)


def _read(lines: Lines, options: ReadOptions) -> Iterator[Entry]:
    category = options.category_field
    used = (*_TURNS, "timestamp", "id", *([category] if category else []))
    for line in Objects(lines, used, ("model",)):
        yield from _requests(lines, line, options)


def _requests(lines: Lines, line: Line, options: ReadOptions) -> Iterator[Entry]:
    key = next((name for name in _TURNS if name in line.fields), _TURNS[0])
    turns = line.value(key, _turns)
    time_ns = line.value("timestamp", _time) if line.fields.get("timestamp") is not None else None
    session = session_number(line.text_of("id"))
    before = 0
    for index, turn in enumerate(turns):
        who = str(turn.get("from", turn.get("role", ""))).lower()
        if who not in _ASKS + _ANSWERS:
            raise line.fault(key, f"turn {index} is from {who!r}; it should be one of {', '.join(_ASKS + _ANSWERS)}")
        try:
            num_tokens = _num_tokens(lines, turn, options)
            if who in _ASKS and turn.get("timestamp") is not None:
                time_ns = _time(turn["timestamp"])
        except ValueError as error:
            raise line.fault(key, f"turn {index}: {error}") from None
        if who in _ANSWERS and before:
            yield Entry(
                line=line.number,
                column=line.column("timestamp"),
                time_ns=time_ns,
                prompt_tokens=before,
                output_tokens=num_tokens,
                category=line.text_of(options.category_field),
                session=session,
            )
            time_ns = None  # a later question has a time of its own, or none
            if options.turns == "first":
                return
        before += num_tokens


def _num_tokens(lines: Lines, turn: Mapping[str, object], options: ReadOptions) -> int:
    if turn.get("tokens") is not None:
        return whole_number(turn["tokens"])
    text = turn.get("value", turn.get("content"))
    if not isinstance(text, str):
        raise ValueError(f"{shown(text)} should be the text that was said")
    per_token = options.characters_per_token
    lines.note(f"a token is taken to be {per_token:g} characters of text (assumed)")
    return ceil(len(text) / per_token)


SHAREGPT = RequestFormat(
    description="ShareGPT-like JSON lines: conversations of turns; timestamp where there are times",
    recognises=lambda line: any(has_fields(line, (name,)) for name in _TURNS),
    read=_read,
)
