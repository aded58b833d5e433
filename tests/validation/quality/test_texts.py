"""Texts become segments, and texts that will not do are refused with what to do."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from hardware_profiles.errors import InputError
from tests.cli.conftest import CommandLine, moesim, place  # noqa: F401 - fixtures
from traces.nano import MODEL
from validation.quality.nano import shared_out
from validation.quality.texts import Texts, read_texts

pytestmark = pytest.mark.filterwarnings("ignore")

WORDS = "the function returns the number of bytes that were read from the file "


def write(path: Path, texts: list[str]) -> Path:
    """Write texts as JSON lines."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def read(texts: Path, learn_from: Path | None = None, **sizes: int) -> Texts:
    """Read them with the shipped tokenizer."""
    chosen = {"segment_tokens": 8, "segments": 2, "learn_segments": 1} | sizes
    return read_texts(str(MODEL), texts, learn_from, **chosen)


def test_a_third_is_set_apart(tmp_path: Path) -> None:
    """The first; segments of the others are dealt round by round, and begin with the model's first token."""
    texts = read(write(tmp_path / "t.jsonl", [f"{number} {WORDS * 4}" for number in range(3)]), segments=3)
    assert [len(one) for one in texts.evaluated] == [9, 9, 9]
    assert [len(one) for one in texts.learned] == [8]
    assert [one[0] == 0 for one in texts.evaluated] == [True, True, False], "two texts, then the first one goes on"
    assert texts.learned[0][:2] not in [one[:2] for one in texts.evaluated]
    assert texts.num_tokens == 24


@pytest.mark.parametrize(
    ("texts", "learned", "sizes", "message"),
    [
        ([WORDS], None, {}, "has 1 texts; policies learn from a third"),
        ([WORDS] * 1, [WORDS], {}, "has a text that is to be evaluated as well"),
        ([WORDS], ["other " + WORDS], {"segments": 50}, "has text for . segments of 9 tokens, and 50 are needed"),
        ([WORDS], ["other " + WORDS], {"segment_tokens": 1}, "--segment-tokens: is 1; it should be 2 or more"),
    ],
)
def test_texts_that_will_not_do(
    tmp_path: Path, texts: list[str], learned: list[str] | None, sizes: dict[str, int], message: str
) -> None:
    """Too few, the same, too short."""
    one = write(tmp_path / "t.jsonl", texts)
    other = None if learned is None else write(tmp_path / "l.jsonl", learned)
    with pytest.raises(InputError, match=message):
        read(one, other, **sizes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--texts", "none.jsonl"], "no such file"),
        (["--texts", "none.jsonl", "--dtype", "int8"], "--dtype: is 'int8'"),
        (["--texts", "none.jsonl", "--side-by-side", "0"], "--side-by-side: is 0"),
    ],
)
def test_the_command_says_what_is_wrong(moesim: CommandLine, options: list[str], message: str) -> None:  # noqa: F811
    """In one message, with the exit code of the user's input."""
    outcome = moesim("quality", str(MODEL), *options)
    assert outcome.code == 2
    assert message in outcome.err


def test_passages_are_shared_out() -> None:
    """By share, one or more to each."""
    assert shared_out([("a", 0.7), ("b", 0.28), ("c", 0.02)], 10) == {"a": 6, "b": 3, "c": 1}
