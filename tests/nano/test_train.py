"""The training command, on a corpus of two sources and a model of a few thousand parameters."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

from traces.errors import TraceError  # noqa: E402
from traces.format import open_trace  # noqa: E402
from traces.nano import train  # noqa: E402
from traces.nano.presets import PRESETS, build_model  # noqa: E402
from traces.nano.record import record  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch and transformers, about themselves


def test_training_stops_and_goes_on(tiny_corpus: Path, tmp_path: Path) -> None:
    """Three steps, then two more, give the weights of five steps: same windows, same state of the optimizer."""
    for steps in (3, 5):
        train.train(data=tiny_corpus, out=tmp_path / "halves", preset="test", steps=steps, threads=1)
    train.train(data=tiny_corpus, out=tmp_path / "whole", preset="test", steps=5, threads=1)
    halves, whole = (torch.load(tmp_path / name / train.CHECKPOINT) for name in ("halves", "whole"))
    assert halves["progress"]["step"] == whole["progress"]["step"] == 5
    assert (halves["progress"]["interruptions"], whole["progress"]["interruptions"]) == (1, 0)
    for name, weights in whole["model"].items():
        # The schedule goes by the clock, so that the learning rates differ by a few parts in a million.
        assert torch.allclose(halves["model"][name], weights, atol=1e-6)
    assert not (tmp_path / "halves" / "model").exists()


def test_a_checkpoint_of_another_preset_is_refused(
    tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Going on with other sizes would load nothing sensible: the message says what to do."""
    train.train(data=tiny_corpus, out=tmp_path, preset="test", steps=1, threads=1)
    monkeypatch.setitem(PRESETS, "test", PRESETS["cpu"])
    with pytest.raises(TraceError, match="another preset"):
        train.train(data=tiny_corpus, out=tmp_path, preset="test", steps=2, threads=1)


def test_bfloat16_training_learns_in_float32_weights() -> None:
    """The GPU preset's way of training, on a CPU: about the loss of float32, and gradients for every weight."""
    windows = np.random.default_rng(0).integers(0, 300, (2, 33)).astype(np.uint16)
    losses = {}
    for dtype in ("float32", "bfloat16"):
        preset = replace(PRESETS["test"], dtype=dtype, experts="grouped_mm")
        torch.manual_seed(0)
        model = build_model(preset)
        before = {name: weight.clone() for name, weight in model.named_parameters()}
        optimizer = torch.optim.AdamW(model.parameters())
        losses[dtype], _ = train.train_step(model, optimizer, windows, rate=1e-3, preset=preset)
        for name, weight in model.named_parameters():
            assert weight.dtype == torch.float32
            assert not torch.equal(weight, before[name])
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.01)


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
