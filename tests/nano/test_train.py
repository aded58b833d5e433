"""The training command, on a corpus of two sources and a model of a few thousand parameters."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

from traces.errors import TraceError
from traces.format import open_trace
from traces.nano import train
from traces.nano.presets import PRESETS
from traces.nano.record import record

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch and transformers, about themselves


def _log(out: Path) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = json.loads((out / "log.json").read_text())["log"]
    return rows


def test_training_stops_and_goes_on(tiny_corpus: Path, tmp_path: Path) -> None:
    """Three steps, then two more, give the losses of five steps: same windows, same optimizer state."""
    for steps in (3, 5):
        train.train(data=tiny_corpus, out=tmp_path / "halves", preset="test", steps=steps, threads=1)
    train.train(data=tiny_corpus, out=tmp_path / "whole", preset="test", steps=3, threads=1)
    assert [row["step"] for row in _log(tmp_path / "halves")][-1] == 5
    assert not (tmp_path / "halves" / "model").exists()
    first, whole = _log(tmp_path / "halves")[:2], _log(tmp_path / "whole")[:2]
    assert [row["loss"] for row in first] == [row["loss"] for row in whole]


def test_a_checkpoint_of_another_preset_is_refused(
    tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Going on with other sizes would load nothing sensible: the message says what to do."""
    train.train(data=tiny_corpus, out=tmp_path, preset="test", steps=1, threads=1)
    monkeypatch.setitem(PRESETS, "test", PRESETS["cpu"])
    with pytest.raises(TraceError, match="another preset"):
        train.train(data=tiny_corpus, out=tmp_path, preset="test", steps=2, threads=1)


def test_the_gpu_preset_needs_a_gpu(tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not fall back to a CPU in silence."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(TraceError, match="no CUDA device"):
        train.train(data=tiny_corpus, out=tmp_path, preset="gpu")


def test_a_folder_without_a_corpus_is_refused(tmp_path: Path) -> None:
    """The message names the command that makes one."""
    with pytest.raises(TraceError, match=r"traces\.nano\.corpus"):
        train.train(data=tmp_path, out=tmp_path / "out", preset="test")


def test_a_trained_model_is_exported_and_recorded(tiny_corpus: Path, tmp_path: Path) -> None:
    """Export and recording work from end to end: what is written opens, with prompts, decode and lookahead."""
    train.train(data=tiny_corpus, out=tmp_path, preset="test", steps=2, threads=1)
    train.export_checkpoint(data=tiny_corpus, out=tmp_path, preset="test", threads=1)
    figures = json.loads((tmp_path / "model" / "training.json").read_text())
    assert figures["steps"] == 2
    assert figures["tokens_seen"] == 2 * PRESETS["test"].batch_windows * PRESETS["test"].window_tokens
    assert set(figures["held_out_loss"]) == {"letters", "numbers", "all"}

    out = tmp_path / "trace.safetensors"
    record(data=tiny_corpus, model=tmp_path / "model", out=out, tokens=2000, lookahead=1, threads=1)
    trace = open_trace(out)
    trace.check()
    assert trace.num_tokens >= 2000
    assert trace.metadata.categories == ("letters", "numbers")
    assert trace.lookahead_distances == 1
    assert (trace.prompt_tokens >= 32).all()
