"""What a request trace says of one request, and what each format can do."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from simulator.workload.requests.lines import Lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One request as its file tells it: `time_ns` by the file's own clock (None if it has none), lengths from 0 up.

    `line` and `column` (from 1) say where the time stands.
    """

    line: int
    column: int
    time_ns: int | None
    prompt_tokens: int
    output_tokens: int
    category: str | None = None
    session: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How to read a request trace; most formats need none of it.

    `category_field` names the column or field that holds a request's category. Of a conversation, `turns` takes the first
    question and answer, or all. `characters_per_token` turns texts into token counts where a file has no others.
    """

    category_field: str | None = None
    turns: str = "first"
    characters_per_token: float = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFormat:
    """A format: `read` yields a file's entries, `recognises` tells it by the first line that is not blank."""

    description: str
    recognises: Callable[[str], bool]
    read: Callable[[Lines, ReadOptions], Iterator[Entry]]
