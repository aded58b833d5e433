"""Prompts files: `.txt`, one prompt per line, or `.jsonl`, one object per line."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from traces.errors import TraceError

NO_CATEGORY = "none"
_TEXT_FIELDS = ("prompt", "text", "messages")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt: `text`, or the `messages` of a chat. `where` is its file and line, for errors."""

    where: str
    text: str | None = None
    messages: Sequence[Mapping[str, object]] | None = None
    category: str | None = None
    max_new_tokens: int | None = None


def read_prompts(path: str | Path, *, limit: int | None = None) -> list[Prompt]:
    """Read a prompts file, or its first `limit` prompts. Blank lines are skipped.

    A `.jsonl` line has one of `prompt`, `text` and `messages` (a list of `{"role", "content"}`), and may have
    `category` and `max_new_tokens`; other fields are not looked at. Raises TraceError, with the line.
    """
    path = Path(path)
    if path.suffix not in (".txt", ".jsonl"):
        raise TraceError(path, f"ends in {path.suffix!r}; a prompts file is .txt (a prompt per line) or .jsonl")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise TraceError(path, "no such file; check the path") from None
    except UnicodeDecodeError as error:
        raise TraceError(path, f"is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise TraceError(path, f"cannot be read: {error.strerror}") from None
    prompts: list[Prompt] = []
    for number, line in enumerate(lines, start=1):
        if limit is not None and len(prompts) == limit:
            break
        if line.strip():
            where = f"{path}:{number}"
            prompts.append(
                Prompt(where=where, text=line.rstrip("\r")) if path.suffix == ".txt" else _parse_line(where, line)
            )
    if not prompts:
        raise TraceError(path, "has no prompts")
    return prompts


def category_names(prompts: Sequence[Prompt]) -> tuple[str, ...]:
    """Return the distinct categories, sorted; `none` for prompts without one; nothing if no prompt has one."""
    if all(prompt.category is None for prompt in prompts):
        return ()
    return tuple(sorted({prompt.category or NO_CATEGORY for prompt in prompts}))


def _parse_line(where: str, line: str) -> Prompt:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TraceError(where, f"is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise TraceError(where, f'is a JSON {type(fields).__name__}; it should be an object, {{"prompt": "..."}}')
    given = [name for name in _TEXT_FIELDS if name in fields]
    if len(given) != 1:
        raise TraceError(where, f"has {' and '.join(given) or 'no prompt'}; give one of {', '.join(_TEXT_FIELDS)}")
    content = fields[given[0]]
    is_chat = given[0] == "messages"
    if is_chat:
        if not isinstance(content, list) or not content or not all(isinstance(one, dict) for one in content):
            raise TraceError(where, 'messages should be a list of {"role": ..., "content": ...}')
    elif not isinstance(content, str):
        raise TraceError(where, f"{given[0]} is {content!r}; it should be text")
    category, max_new_tokens = fields.get("category"), fields.get("max_new_tokens")
    if category is not None and not isinstance(category, str):
        raise TraceError(where, f"category is {category!r}; it should be text")
    is_count = isinstance(max_new_tokens, int) and not isinstance(max_new_tokens, bool) and max_new_tokens >= 1
    if max_new_tokens is not None and not is_count:
        raise TraceError(where, f"max_new_tokens is {max_new_tokens!r}; it should be a whole number, 1 or more")
    return Prompt(
        where=where,
        text=None if is_chat else content,
        messages=content if is_chat else None,
        category=category,
        max_new_tokens=max_new_tokens,
    )
