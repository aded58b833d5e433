"""`moesim capture`, from files to a trace; its refusals."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
import transformers

from simulator import cli
from tests.capture.conftest import save_tokenizer
from tests.capture.families import COMMON, build
from traces.capture import record
from traces.format import open_trace

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs `moesim capture` in this process and returns the exit code and stderr."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def run_capture(*arguments: object) -> tuple[int, str]:
        try:
            with monkeypatch.context() as patch:
                patch.setattr(sys, "argv", ["moesim", "capture", *map(str, arguments)])
                cli.main()
        except SystemExit as stopped:
            return int(stopped.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().err

    return run_capture


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    lines = (
        {"prompt": "w7 w8 w9", "category": "short"},
        {"text": "w7 w8 w9 w10 w11 w12", "category": "long", "max_new_tokens": 3},
        {"messages": [{"role": "user", "content": "w20 w21"}]},
    )
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def test_prompts_become_a_trace(checkpoint: Path, prompts: Path, tmp_path: Path, run: Run) -> None:
    """Batches and per-prompt limits; a sequence holds what it would alone: its prompt and all but its last token."""
    out = tmp_path / "t.safetensors"
    code, stderr = run(
        *(checkpoint, "--prompts", prompts, "--out", out, "--max-new-tokens", 5, "--batch", 2),
        *("--lookahead", 1, "--token-ids", "--licence", "CC0-1.0"),
    )
    assert code == 0, stderr
    trace = open_trace(out)
    trace.check()
    recorded = trace.sequences()
    assert recorded.token_ids is not None
    assert recorded.prompt_tokens.tolist() == [3, 6, 4]
    assert trace.metadata.categories == ("long", "none", "short")
    assert recorded.sequence_category is not None
    assert recorded.sequence_category.tolist() == [2, 0, 1]
    assert (trace.metadata.model, trace.metadata.licence) == (checkpoint.name, "CC0-1.0")
    assert trace.lookahead_distances == 1
    assert json.loads(trace.metadata.extra["run"])["max_new_tokens"] == 5

    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint)
    alone = [([7, 8, 9], 5), ([7, 8, 9, 10, 11, 12], 3), ([4, 20, 21, 6], 5)]
    for row, (prompt, new) in enumerate(alone):
        output = model.generate(torch.tensor([prompt]), max_new_tokens=new, do_sample=False)[0].tolist()
        tokens = trace.sequence_tokens(row)
        assert recorded.token_ids[tokens.start : tokens.stop].tolist() == output[:-1]
        with record(model, eos_token_ids=()) as recorder:
            model(torch.tensor([output[:-1]]))
        np.testing.assert_array_equal(recorded.expert_ids[tokens.start : tokens.stop], recorder.sequences().expert_ids)


def test_teacher_forced_text_is_all_prompt(checkpoint: Path, prompts: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "shards"
    code, stderr = run(
        *(checkpoint, "--prompts", prompts, "--out", out, "--teacher-forced", "--batch", 3, "--no-gate-weights")
    )
    assert code == 0, stderr
    trace = open_trace(out)
    assert np.diff(trace.sequence_start).tolist() == trace.prompt_tokens.tolist() == [3, 6, 4]
    assert not trace.has_gate_weights


def test_an_encoder_decoder_model_is_captured(tmp_path: Path, prompts: Path, run: Run) -> None:
    """The decoder is recorded; it begins with one token of its own."""
    folder = tmp_path / "switch"
    build("switch_transformers").save_pretrained(folder)
    save_tokenizer(folder)
    out = tmp_path / "t.safetensors"
    code, stderr = run(folder, "--prompts", prompts, "--out", out, "--max-new-tokens", 4, "--limit", 2)
    assert code == 0, stderr
    trace = open_trace(out)
    assert trace.prompt_tokens.tolist() == [1, 1]
    assert trace.num_layers == 2
    code, stderr = run(folder, "--prompts", prompts, "--out", tmp_path / "u", "--teacher-forced")
    assert code == 2
    assert "encoder-decoder" in stderr


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--batch", 0), "--batch: is 0"),
        (("--max-new-tokens", 0), "--max-new-tokens: is 0"),
        (("--lookahead", -1), "--lookahead: is -1"),
        (("--limit", 0), "--limit: is 0"),
        (("--dtype", "int4"), "--dtype: is 'int4'"),
        (("--device", "tpu"), "--device: is 'tpu'"),
        (("--max-new-tokens", 200), "asks for 200 more, but the model has 128 positions"),
    ],
)
def test_a_faulty_option_is_refused(
    checkpoint: Path, prompts: Path, tmp_path: Path, run: Run, arguments: tuple[object, ...], fault: str
) -> None:
    code, stderr = run(checkpoint, "--prompts", prompts, "--out", tmp_path / "t.safetensors", *arguments)
    assert code == 2
    assert fault in stderr
    assert stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prompts.jsonl"]


def save_config(folder: Path, config: transformers.PreTrainedConfig, architecture: str) -> Path:
    config.architectures = [architecture]
    config.save_pretrained(folder)
    return folder


def test_models_that_cannot_be_captured_are_refused(prompts: Path, tmp_path: Path, run: Run) -> None:
    """Each with exit code 2 and one message, before any weights are read."""
    dense = save_config(tmp_path / "dense", transformers.LlamaConfig(**COMMON), "LlamaForCausalLM")
    bert = save_config(tmp_path / "bert", transformers.BertConfig(**COMMON), "BertForMaskedLM")
    vision = save_config(tmp_path / "vision", transformers.ViTConfig(), "ViTModel")
    for model, fault in (
        (dense, "no mixture-of-experts layers"),
        (bert, "encoder-only"),
        (vision, "encoder-only or makes no text"),
        (tmp_path / "nowhere", "no such directory"),
        ("a/b/c", "no directory here, and no hub id"),
        ("nobody/nothing", "cannot be loaded"),
        (prompts.parent, "cannot be loaded"),
    ):
        code, stderr = run(model, "--prompts", prompts, "--out", tmp_path / "t.safetensors")
        assert code == 2, stderr
        assert fault in stderr
        assert stderr.count("moesim: error:") == 1
        assert "Traceback" not in stderr


def test_a_missing_tokenizer_is_named(tmp_path: Path, prompts: Path, run: Run) -> None:
    build("mixtral").save_pretrained(tmp_path / "bare")
    code, stderr = run(tmp_path / "bare", "--prompts", prompts, "--out", tmp_path / "t.safetensors")
    assert code == 2
    assert "tokenizer" in stderr
    assert "--tokenizer" in stderr


def test_messages_need_a_chat_template(checkpoint: Path, tmp_path: Path, prompts: Path, run: Run) -> None:
    bare = tmp_path / "bare"
    save_tokenizer(bare)
    (bare / "chat_template.jinja").unlink()
    code, stderr = run(checkpoint, "--prompts", prompts, "--out", tmp_path / "t", "--tokenizer", bare)
    assert code == 2
    assert "prompts.jsonl:3: has messages, but the tokenizer has no chat template" in stderr


def test_without_the_extra_the_message_names_it(prompts: Path, tmp_path: Path, run: Run) -> None:
    """As on a laptop without torch."""
    import simulator.cli.capture as command

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "find_spec", lambda _name: None)
        code, stderr = run("any", "--prompts", prompts, "--out", tmp_path / "t.safetensors")
    assert code == 2
    assert "pip install 'moesim[live]'" in stderr


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_leaves_a_shorter_trace(checkpoint: Path, tmp_path: Path) -> None:
    """A real interrupt of a real process: exit code 130, and a trace of the sequences until then."""
    text = tmp_path / "prompts.txt"
    text.write_text("w7 w8 w9\n" * 20000, encoding="utf-8")
    out = tmp_path / "t.safetensors"
    # A shell's background jobs ignore interrupts, and so would their children.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    argv = ["moesim", "capture", str(checkpoint)]
    command = f"{heed}; import sys; from simulator.cli import main; sys.argv = {argv!r}"
    options = ["--prompts", str(text), "--out", str(out), "--max-new-tokens", "4", "--batch", "4"]
    process = subprocess.Popen(
        [sys.executable, "-c", f"{command} + {options!r}; main()"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "t.safetensors.parts").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "holds what was recorded until now" in stderr
    trace = open_trace(out)
    trace.check()
    assert 0 < trace.num_sequences < 20000
    assert not (tmp_path / "t.safetensors.parts").exists()
