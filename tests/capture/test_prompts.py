"""Prompts files: what is read, and what each fault is called."""

from pathlib import Path

import pytest

pytest.importorskip("torch")  # traces.capture is the part of traces that needs it

from traces.capture.prompts import category_names, read_prompts
from traces.errors import TraceError


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_text_file_has_a_prompt_per_line(tmp_path: Path) -> None:
    prompts = read_prompts(write(tmp_path, "p.txt", "one two\n\n  \nthree\r\n"))
    assert [prompt.text for prompt in prompts] == ["one two", "three"]
    assert prompts[1].where.endswith("p.txt:4")
    assert category_names(prompts) == ()


def test_a_line_of_json_has_a_prompt_a_text_or_messages(tmp_path: Path) -> None:
    prompts = read_prompts(
        write(
            tmp_path,
            "p.jsonl",
            '{"prompt": "a", "category": "math", "max_new_tokens": 3}\n'
            '{"text": "b", "id": 7}\n'
            '{"messages": [{"role": "user", "content": "c"}], "category": "code"}\n',
        )
    )
    assert [prompt.text for prompt in prompts] == ["a", "b", None]
    assert prompts[2].messages == [{"role": "user", "content": "c"}]
    assert [prompt.max_new_tokens for prompt in prompts] == [3, None, None]
    assert category_names(prompts) == ("code", "math", "none")


def test_a_limit_stops_reading(tmp_path: Path) -> None:
    assert len(read_prompts(write(tmp_path, "p.jsonl", '{"text": "a"}\n{"text": "b"}\nnot json\n'), limit=2)) == 2


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("p.csv", "a", "ends in '.csv'"),
        ("p.txt", "\n", "has no prompts"),
        ("p.jsonl", '{"text": "a"}\n{"text": ', "p.jsonl:2: is not JSON"),
        ("p.jsonl", '["a"]', "is a JSON list"),
        ("p.jsonl", '{"question": "a"}', "has no prompt; give one of prompt, text, messages"),
        ("p.jsonl", '{"prompt": "a", "text": "b"}', "has prompt and text"),
        ("p.jsonl", '{"prompt": 3}', "prompt is 3; it should be text"),
        ("p.jsonl", '{"messages": []}', "messages should be a list"),
        ("p.jsonl", '{"text": "a", "category": 3}', "category is 3"),
        ("p.jsonl", '{"text": "a", "max_new_tokens": 0}', "max_new_tokens is 0"),
        ("p.jsonl", '{"text": "a", "max_new_tokens": true}', "max_new_tokens is True"),
    ],
)
def test_a_fault_is_told_with_its_line(tmp_path: Path, name: str, text: str, fault: str) -> None:
    with pytest.raises(TraceError) as told:
        read_prompts(write(tmp_path, name, text))
    assert fault in str(told.value)


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no such file"):
        read_prompts(tmp_path / "p.txt")
    (tmp_path / "q.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(TraceError, match="not UTF-8"):
        read_prompts(tmp_path / "q.txt")
