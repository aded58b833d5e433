"""Each format against a few lines written by hand, and what each refuses, with the place."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from hardware_profiles.errors import InputError
from simulator.workload.recorded import RecordedRequests
from simulator.workload.requests import FORMATS
from simulator.workload.requests.lines import Lines, seconds_ns, whole_number
from simulator.workload.requests.protocol import ReadOptions
from simulator.workload.requests.timestamps import timestamp_ns

AZURE = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 23:59:59.9799600,374,44
2023-11-17 00:00:00.0000001,396,109
2023-11-17 00:00:00.5,879,55
"""
MOONCAKE = """\
{"timestamp": 27, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]}

{"timestamp": 3027, "input_length": 7322, "output_length": 490, "hash_ids": [0, 2]}
"""
BURSTGPT = """\
Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,0,0,0,Conversation log
118.25,GPT-4,417,276,693,API log
"""
BURSTGPT_SESSIONS = """\
Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
1,17,2.5,GPT-4,10,20,30,Conversation log
2,,1.5,GPT-4,11,21,32,API log
3,17,2.5,GPT-4,12,22,34,Conversation log
4,f3a-9,2.5,GPT-4,13,23,36,Conversation log
"""
VIDUR = """\
,arrived_at,num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio
0,0.5,100.0,10,110,10.0
1,1.75,200,20,220,10.0
"""
VIDUR_LENGTHS = "num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n7,3,10,2.33\n9,1,10,9\n"
SHAREGPT = """\
{"id": "a", "timestamp": 10, "conversations": [{"from": "human", "value": "12345"}, {"from": "gpt", "value": "1234"}, \
{"from": "human", "value": "1"}, {"from": "gpt", "value": "123456789"}]}
{"timestamp": 12.5, "conversations": [{"from": "system", "value": "12"}, {"from": "human", "tokens": 3}, \
{"from": "gpt", "tokens": 40}]}
"""
MESSAGES = """\
{"messages": [{"role": "user", "content": "12345678"}, {"role": "assistant", "content": "1234"}], "kind": "law"}
"""


def recorded(folder: Path, text: str, **options: object) -> RecordedRequests:
    """Write a file and open it."""
    path = folder / "requests.txt"
    path.write_text(text, encoding="utf-8")
    return RecordedRequests(path, **options)  # type: ignore[arg-type]


def told(requests: RecordedRequests) -> Sequence[tuple[int, int, int, int | None]]:
    """Return (time in ns, prompt, output, session) of each request."""
    return [(one.arrival_ns, one.prompt_tokens, one.output_tokens, one.session) for one in requests.arrivals(0)]


def test_azure(tmp_path: Path) -> None:
    """Times to 100 ns, over midnight, from the first request on."""
    requests = recorded(tmp_path, AZURE)
    assert requests.format_name == "azure"
    assert told(requests) == [(0, 374, 44, None), (20_040_100, 396, 109, None), (520_040_000, 879, 55, None)]
    assert requests.notes() == []


@pytest.mark.parametrize(
    "same",
    [
        "2024-05-10 01:00:00.25",
        "2024-05-10T01:00:00.250Z",
        "2024-05-10 03:30:00,25+02:30",
        "2024-05-10 00:00:00.25-01:00",
    ],
)
def test_timestamps_of_one_instant_are_equal(same: str) -> None:
    """Fractions of any length, T or a blank, offsets."""
    assert timestamp_ns(same) == timestamp_ns("2024-05-10 01:00:00") + 250_000_000


def test_mooncake(tmp_path: Path) -> None:
    """Times in ms; a blank line is nothing; hashes are said not to be used."""
    requests = recorded(tmp_path, MOONCAKE)
    assert requests.format_name == "mooncake"
    assert told(requests) == [(0, 6758, 500, None), (3_000_000_000, 7322, 490, None)]
    assert requests.notes() == ["requests.txt: field not used: hash_ids"]


def test_seconds_are_not_taken_for_milliseconds(tmp_path: Path) -> None:
    """Traces with a chat_id have the same fields, and times in s: they are not recognised."""
    line = '{"chat_id": 1, "timestamp": 61.1, "input_length": 5, "output_length": 6, "hash_ids": []}\n'
    with pytest.raises(InputError, match="no format that moesim knows"):
        recorded(tmp_path, line)


def test_burstgpt(tmp_path: Path) -> None:
    """Failed requests are left out and counted; what is not used is said once."""
    requests = recorded(tmp_path, BURSTGPT)
    assert requests.format_name == "burstgpt"
    assert told(requests) == [(0, 472, 18, None), (113_250_000_000, 417, 276, None)]
    assert requests.notes() == [
        "requests.txt: 1 requests without a token of prompt or of output are left out",
        "requests.txt: columns not used: Model, Total tokens, Log Type",
    ]
    assert len(told(requests)) == 2, "and again"
    assert requests.notes()[0].startswith("requests.txt: 1 requests")


def test_burstgpt_sessions(tmp_path: Path) -> None:
    """Numbers stay, names become numbers, the same for the same, and none is none."""
    sessions = [session for *_, session in told(recorded(tmp_path, BURSTGPT_SESSIONS))]
    assert sessions[:3] == [17, None, 17]
    assert sessions[3] is not None
    assert sessions[3] > 17


def test_a_failed_request_may_be_refused(tmp_path: Path) -> None:
    """With its place."""
    with pytest.raises(InputError, match=r"requests\.txt:3:1: the request has 0 prompt and 0 output tokens"):
        told(recorded(tmp_path, BURSTGPT, leave_out_empty=False))


def test_vidur(tmp_path: Path) -> None:
    """With an index as pandas writes it, and a length as it writes those."""
    requests = recorded(tmp_path, VIDUR)
    assert requests.format_name == "vidur"
    assert told(requests) == [(0, 100, 10, None), (1_250_000_000, 200, 20, None)]
    assert requests.notes() == []


def test_lengths_without_times(tmp_path: Path) -> None:
    """They give lengths, and no arrivals."""
    requests = recorded(tmp_path, VIDUR_LENGTHS)
    assert not requests.has_times()
    assert list(requests.lengths()) == [(7, 3), (9, 1)]
    with pytest.raises(InputError, match=r"requests\.txt:2:1: the request has no time of arrival"):
        told(requests)
    assert recorded(tmp_path, VIDUR).has_times()


def test_sharegpt_first_turns(tmp_path: Path) -> None:
    """5 characters are 2 tokens; a system prompt is part of the prompt; stated tokens stand."""
    requests = recorded(tmp_path, SHAREGPT)
    assert requests.format_name == "sharegpt"
    first, second = told(requests)
    assert first[:3] == (0, 2, 1)
    assert second == (2_500_000_000, 4, 40, None)
    assert requests.notes() == ["requests.txt: a token is taken to be 4 characters of text (assumed)"]


def test_sharegpt_all_turns(tmp_path: Path) -> None:
    """A later prompt holds all that was said before: 2 + 1 + 1 tokens; one without a time gives its length alone."""
    requests = recorded(tmp_path, SHAREGPT, options=ReadOptions(turns="all"))
    assert list(requests.lengths()) == [(2, 1), (4, 3), (4, 40)]
    with pytest.raises(InputError, match=r"requests\.txt:1:13: the request has no time"):
        told(requests)


def test_messages_with_a_category(tmp_path: Path) -> None:
    """Other names of the same; half as many characters to a token."""
    options = ReadOptions(category_field="kind", characters_per_token=2.0)
    timed = MESSAGES.replace("{", '{"timestamp": "2024-01-01 10:00:00", ', 1)
    (request,) = recorded(tmp_path, timed, options=options).arrivals(0)
    assert (request.prompt_tokens, request.output_tokens, request.category) == (4, 2, "law")


@pytest.mark.parametrize(("text", "name"), [(AZURE, "azure"), (BURSTGPT, "burstgpt"), (VIDUR, "vidur")])
def test_a_column_may_hold_the_category(text: str, name: str, tmp_path: Path) -> None:
    """Of any table, quoted or not; an empty cell is none."""
    header, *rows = text.splitlines()
    lines = [f"{header},kind", *(f"{row},{kind}" for row, kind in zip(rows, ('"a, b"', "", "c"), strict=False))]
    options = ReadOptions(category_field="kind")
    requests = recorded(tmp_path, "\n".join(lines), options=options)
    assert requests.format_name == name
    categories = [one.category for one in requests.arrivals(0)]
    assert categories[0] == "a, b"
    assert categories[-1] == {"azure": "c", "burstgpt": "c", "vidur": None}[name]


def test_columns_may_stand_in_any_order(tmp_path: Path) -> None:
    """With Windows line ends and a byte order mark."""
    text = "\ufeffGeneratedTokens,TIMESTAMP,ContextTokens\r\n44,2023-11-16 18:15:46.68,374\r\n"
    assert told(recorded(tmp_path, text)) == [(0, 374, 44, None)]


def test_disorder_is_refused_or_sorted(tmp_path: Path) -> None:
    """The fault says by how much, and where; sorting keeps the order of equal times."""
    text = "arrived_at,num_prefill_tokens,num_decode_tokens\n5,1,1\n3,2,1\n5,3,1\n"
    with pytest.raises(InputError, match=r"requests\.txt:3:1: is 2 s before the request above; sort"):
        told(recorded(tmp_path, text))
    assert told(recorded(tmp_path, text, sort=True)) == [
        (0, 2, 1, None),
        (2 * 10**9, 1, 1, None),
        (2 * 10**9, 3, 1, None),
    ]


def test_reading_is_lazy(tmp_path: Path) -> None:
    """A fault far down is not met by one who stops before it."""
    requests = recorded(tmp_path, AZURE + "nonsense,1,1\n")
    arrivals = requests.arrivals(0)
    assert [next(arrivals).prompt_tokens for _ in range(3)] == [374, 396, 879]
    with pytest.raises(InputError, match="nonsense"):
        next(arrivals)


def _azure(row: str) -> str:
    return f"TIMESTAMP,ContextTokens,GeneratedTokens\n{row}\n"


def _mooncake(line: str) -> str:
    return MOONCAKE + line + "\n"


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        (_azure("2023-11-16 18:15:46.68,37x,44"), "2:24", "ContextTokens: '37x' is not a number of tokens"),
        (_azure("2023-11-16 18:15:46.68,374,-4"), "2:28", "GeneratedTokens: '-4' is not a number of tokens"),
        (_azure("2023-11-16 18:15:46.68,374,1.5"), "2:28", "'1.5' is not"),
        (_azure('2023-11-16 18:15:46.68,"3,4",x'), "2:24", "'3,4' is not"),
        (_azure("2023-11-16 18:15:46.68,9999999999,1"), "2:24", "should be 0 to 1073741824"),
        (_azure("2023-13-16 18:15:46.68,374,44"), "2:1", "TIMESTAMP: '2023-13-16' is not a date"),
        (_azure("2023-11-16 25:15:46.68,374,44"), "2:1", "hours end at 23"),
        (_azure("16/11/2023,374,44"), "2:1", "is not a date and time such as"),
        (_azure("2023-11-16 18:15:46.68,374"), "2:24", "the line has 2 columns, the header 3"),
        (_azure("2023-11-16 18:15:46.68,374,44,1"), "2:28", "the line has 4 columns, the header 3"),
        (
            _mooncake('{"timestamp": 1e400, "input_length": 1, "output_length": 1}'),
            "4:2",
            "timestamp: 1E+400 is not a time",
        ),
        (
            _mooncake('{"timestamp": true, "input_length": 1, "output_length": 1}'),
            "4:2",
            "timestamp: True is not a time",
        ),
        (_mooncake('{"timestamp": 4000, "input_length": "a", "output_length": 1}'), "4:21", "input_length: 'a' is not"),
        (_mooncake('{"timestamp": 4000, "output_length": 1}'), "4:1", "has no field input_length; it has timestamp"),
        (_mooncake('{"timestamp": 4000,'), "4:20", "is not JSON"),
        (_mooncake("[1, 2]"), "4:1", "is a JSON array"),
        (_mooncake("3"), "4:1", "3 should be a JSON object"),
        (SHAREGPT + '{"conversations": [{"from": "cat", "value": "a"}]}\n', "3:2", "turn 0 is from 'cat'"),
        (SHAREGPT + '{"conversations": [{"from": "human"}]}\n', "3:2", "turn 0: None should be the text"),
        (SHAREGPT + '{"conversations": "hello"}\n', "3:2", "should be a list of turns"),
        ("arrived_at,num_prefill_tokens,num_decode_tokens\nnan,1,1\n", "2:1", "arrived_at: 'nan' is not a time"),
        ("num_decode_tokens,num_prefill_tokens,num_decode_tokens\n", "1:1", "should have one column num_decode_tokens"),
    ],
)
def test_a_fault_is_told_with_line_and_column(text: str, place: str, says: str, tmp_path: Path) -> None:
    """As file:line:column."""
    with pytest.raises(InputError) as raised:
        told(recorded(tmp_path, text))
    assert str(raised.value).startswith(f"{tmp_path / 'requests.txt'}:{place}: ")
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", ":1:1: the file is empty"),
        (b"a,b\n1,2\n", "'a,b'"),
        (b'[{"conversations": []}]', ":1:1: begins a JSON array"),
        (b"TIMESTAMP\xff\n", ":1:10: is not UTF-8"),
    ],
)
def test_what_is_no_request_trace_is_refused(content: bytes, says: str, tmp_path: Path) -> None:
    """When it is opened, naming the formats that are known."""
    path = tmp_path / "requests.txt"
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        RecordedRequests(path)
    assert says in str(raised.value)
    if says == "'a,b'":
        assert all(name in str(raised.value) for name in FORMATS)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A file that is not there, a folder, a format that is not known."""
    with pytest.raises(InputError, match="no such file"):
        RecordedRequests(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="is a directory"):
        RecordedRequests(tmp_path)
    with pytest.raises(InputError, match="did you mean 'azure'"):
        RecordedRequests(tmp_path / "absent.csv", format_name="azur")


def test_a_stated_format_is_read_as_such(tmp_path: Path) -> None:
    """Its columns are then asked for by name."""
    with pytest.raises(InputError, match=r":1:1: should have one column Timestamp; the columns are TIMESTAMP"):
        told(recorded(tmp_path, AZURE, format_name="burstgpt"))
    with pytest.raises(InputError, match=r":1:1: should have one column Timestamp; the file is empty"):
        told(recorded(tmp_path, "\n", format_name="burstgpt"))


def test_numbers_are_exact() -> None:
    """Decimal seconds are whole ns; counts are whole."""
    assert seconds_ns("0.1") == 100_000_000
    assert seconds_ns("1234567890.123456789") == 1_234_567_890_123_456_789
    assert [whole_number(value) for value in (0, "7", "7.0", " 7 ")] == [0, 7, 7, 7]
    for value in (True, None, 1.5, "1_000", "", "٣"):
        with pytest.raises(ValueError, match="is not a number of tokens"):
            whole_number(value)


def test_long_lines_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a file that is no text cannot fill memory."""
    monkeypatch.setattr("simulator.workload.requests.lines._MAX_LINE_BYTES", 100)
    path = tmp_path / "requests.txt"
    path.write_text("short\n" + "x" * 101, encoding="utf-8")
    with pytest.raises(InputError, match=r":2:1: the line has more than 100 bytes"):
        list(Lines(path))
