"""`moesim trace info` and `moesim trace stats` on a small trace."""

import json
from pathlib import Path

import pytest

from simulator.cli.trace_info import info
from simulator.cli.trace_stats import stats
from tests.traces.random_traces import make_trace
from traces.errors import TraceError
from traces.format import TraceMetadata, write_trace
from traces.statistics.summary import describe

LENGTHS = [30, 20, 50]


@pytest.fixture
def trace_file(tmp_path: Path) -> Path:
    trace = make_trace(LENGTHS, 3, 2, 8, seed=11)
    path = tmp_path / "small.safetensors"
    write_trace(path, trace.sequences, TraceMetadata(model="small", num_experts=8, source="a test", licence="none"))
    return path


def test_info_tells_shape_provenance_and_digest(trace_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info(trace_file, json_output=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["tokens"], told["sequences"], told["layers"], told["top_k"], told["experts"]) == (100, 3, 3, 2, 8)
    assert told["sequence_tokens"] == {"min": 20, "median": 30.0, "max": 50}
    assert told["prompt_tokens"] == 50
    assert told["chance_overlap_experts"] == 0.5
    assert told["source"] == "a test"
    assert len(told["sha256"]) == 64
    assert told["content_checked"]


def test_info_prints_a_table(trace_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info(trace_file, check=False)
    out = capsys.readouterr().out
    assert "100 tokens (T), 3 sequences (S)" in out
    assert "not checked" in out


def test_stats_keys_are_stable_and_complete(trace_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stats(trace_file, json_output=True)
    told = json.loads(capsys.readouterr().out)
    assert list(told) == [
        "path",
        "model",
        "tokens",
        "sequences",
        "layers",
        "top_k",
        "experts",
        "popularity",
        "locality",
        "windows",
        "batches",
        "lru",
        "affinity",
        "coactivation",
        "gate",
        "lookahead",
        "drift",
        "templates",
    ]
    assert told["lru"]["hit_rate_frac"] == sorted(told["lru"]["hit_rate_frac"])
    assert len(told["lru"]["hit_rate_per_bank_frac"]) == 3
    assert told["batches"]["union_experts"][2] is None  # no eight sequences
    assert told["lookahead"]["distance_layers"] == [1, 2]


def test_stats_of_the_front_cut_the_last_sequence(trace_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stats(trace_file, json_output=True, tokens=40)
    told = json.loads(capsys.readouterr().out)
    assert (told["tokens"], told["sequences"]) == (40, 2)


def test_stats_write_a_page_that_fetches_nothing(
    trace_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    stats(trace_file, html=page)
    text = page.read_text(encoding="utf-8")
    assert "LRU hit rate" in capsys.readouterr().out
    assert "capacity (experts)" in text
    assert "<script src" not in text
    assert "cdn." not in text.split("</style>")[0]


def test_stats_refuse_no_tokens(trace_file: Path) -> None:
    with pytest.raises(TraceError, match="--tokens: is 0"):
        stats(trace_file, tokens=0)


def test_one_token_has_no_pairs_and_no_error() -> None:
    trace = make_trace([1], 1, 1, 1, seed=1)
    told = describe(trace.sequences, 1)
    assert told["affinity"] is None
    locality = told["locality"]
    assert isinstance(locality, dict)
    assert locality["overlap_experts"] == [None] * 9
    json.dumps(told, allow_nan=False)
