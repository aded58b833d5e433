"""Train moesim-nano: `python -m traces.nano.train --data DIR --out DIR`.

The command may be stopped at any time and given again: it goes on from the last checkpoint, with the same windows of
text and the same schedule. The learning rate falls along a cosine over the minutes asked for, so that slower machines
train on fewer tokens, not longer.
"""

import json
import math
import os
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from cyclopts import App
from rich.console import Console

from traces.errors import TraceError
from traces.format import write_text_atomically
from traces.nano.card import FIGURES
from traces.nano.evaluate import Evaluation, balance_loss, evaluate, next_token_loss, ngram_losses
from traces.nano.machine import device_name
from traces.nano.presets import PRESETS, Preset, build_model
from traces.nano.tokens import (
    CORPUS,
    END_OF_TEXT,
    SourceTokens,
    draw_windows,
    encode_corpus,
    load_tokens,
    train_tokenizer,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import Qwen3MoeForCausalLM

CHECKPOINT = "checkpoint.pt"
LOG = "log.json"
_WINDOWS_WHILE_TRAINING = 16  # held-out windows per source
_WINDOWS_AT_THE_END = 64
_SHARD_BYTES = "3900kB"
_LOG_SECONDS = 15.0

app = App(name="traces.nano.train", help="Train moesim-nano, or go on with a training that was interrupted.")


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a training is. `elapsed_s` sums over interruptions; `log` has one row per quarter of a minute or so."""

    step: int = 0
    tokens: int = 0
    elapsed_s: float = 0.0
    interruptions: int = 0
    started: str = ""
    log: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[dict[str, object]] = field(default_factory=list)


@app.default
def train(
    *,
    data: Path,
    out: Path,
    preset: Literal["cpu", "gpu", "test"] = "cpu",
    minutes: float = 60.0,
    steps: int | None = None,
    checkpoint_minutes: float = 3.0,
    evaluation_minutes: float = 6.0,
    threads: int = 2,
    seed: int = 0,
) -> None:
    """Train until the minutes are used up, checkpoint on the way, export at the end.

    Parameters
    ----------
    data
        Folder of text, as traces.nano.corpus writes it.
    out
        Folder for tokens, checkpoint and log, and for the trained model in OUT/model.
    preset
        Size of model: cpu (what ships), gpu (larger, bfloat16), test (tiny).
    minutes
        Training time, summed over interruptions. Changing it on resuming stretches the schedule.
    steps
        Stop at this step even if time is left; the next call goes on from there.
    checkpoint_minutes
        Time between checkpoints.
    evaluation_minutes
        Time between evaluations on held-out text.
    threads
        CPU threads of torch.
    seed
        Of the weights and of the windows drawn.
    """
    console = Console(stderr=True)
    torch.set_num_threads(threads)
    device = _device(preset)
    chosen = PRESETS[preset]
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = _prepare(data, out, chosen, console)
    sources = [source for source in load_tokens(data, out / "tokens") if len(source.train) > chosen.window_tokens]
    corpus = json.loads((data / CORPUS).read_text(encoding="utf-8"))
    torch.manual_seed(seed)
    model = build_model(chosen).train()
    torch.nn.Module.to(model, device)  # in place, here and below; transformers' own `to` has no types
    optimizer = _optimizer(model, chosen)
    progress = _resume(out, chosen, model, optimizer) or Progress(started=_now())
    if progress.step:
        console.print(f"going on from step {progress.step}, {progress.elapsed_s / 60:.1f} minutes in")
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    console.print(f"{num_parameters / 1e6:.2f} M parameters on {device_name(device)}, {threads} threads")
    budget_s, begun = minutes * 60, time.monotonic() - progress.elapsed_s
    checkpoint_at, evaluate_at = progress.elapsed_s + checkpoint_minutes * 60, progress.elapsed_s
    evaluate_at += evaluation_minutes * 60
    recent: list[tuple[float, float]] = []
    log_at, log_tokens, log_from = progress.elapsed_s + _LOG_SECONDS, progress.tokens, progress.elapsed_s
    stop = _stop_on_signals()
    with console.status("training") as status:
        while progress.elapsed_s < budget_s and (steps is None or progress.step < steps) and not stop.is_set():
            rate = learning_rate(chosen, step=progress.step, spent_frac=progress.elapsed_s / budget_s)
            windows = draw_windows(
                sources, windows=chosen.batch_windows, length=chosen.window_tokens + 1, seed=(seed, progress.step)
            )
            recent.append(train_step(model, optimizer, windows, rate=rate, preset=chosen))
            progress.step += 1
            progress.tokens += chosen.batch_windows * chosen.window_tokens
            progress.elapsed_s = time.monotonic() - begun
            if progress.elapsed_s >= log_at or progress.step == 1 or progress.step == steps:
                loss, balance = (float(value) for value in np.mean(recent, axis=0))
                speed = (progress.tokens - log_tokens) / max(progress.elapsed_s - log_from, 1e-9)
                row = {"step": progress.step, "tokens": progress.tokens, "elapsed_s": round(progress.elapsed_s, 1)}
                progress.log.append(row | {"loss": round(loss, 4), "balance": round(balance, 4)})
                left_s = budget_s - progress.elapsed_s
                line = f"step {progress.step}: loss {loss:.3f}, balance {balance:.3f}, {speed:.0f} tokens/s"
                status.update(f"{line}, {progress.tokens / 1e6:.2f} M tokens, {left_s / 60:.0f} min left")
                if not console.is_terminal:
                    console.print(f"{line}, {progress.tokens / 1e6:.2f} M tokens, {left_s / 60:.0f} min left")
                recent, log_at = [], progress.elapsed_s + _LOG_SECONDS
                log_tokens, log_from = progress.tokens, progress.elapsed_s
            if progress.elapsed_s >= evaluate_at:
                found = evaluate(model, sources, windows=_WINDOWS_WHILE_TRAINING, length=chosen.window_tokens)
                progress.evaluations.append(_evaluation_row(progress, found, sources))
                console.print(f"held-out loss {found.mean_loss(sources):.3f} at step {progress.step}")
                progress.elapsed_s = time.monotonic() - begun
                evaluate_at = progress.elapsed_s + evaluation_minutes * 60
            if progress.elapsed_s >= checkpoint_at:
                _save(out, chosen, model, optimizer, progress)
                checkpoint_at = progress.elapsed_s + checkpoint_minutes * 60
    _save(out, chosen, model, optimizer, progress)
    if progress.elapsed_s >= budget_s:
        export(model, tokenizer, sources, corpus, chosen, progress, out / "model", threads=threads)
        console.print(f"trained: {out / 'model'}")
    else:
        console.print(f"stopped at step {progress.step}; the same command goes on")


@app.command(name="export")
def export_checkpoint(
    *, data: Path, out: Path, preset: Literal["cpu", "gpu", "test"] = "cpu", threads: int = 2
) -> None:
    """Write OUT/model from the last checkpoint, of a training that need not have ended."""
    torch.set_num_threads(threads)
    chosen = PRESETS[preset]
    tokenizer = _prepare(data, out, chosen, Console(stderr=True))
    sources = [source for source in load_tokens(data, out / "tokens") if len(source.train) > chosen.window_tokens]
    model = build_model(chosen)
    torch.nn.Module.to(model, _device(preset))
    corpus = json.loads((data / CORPUS).read_text(encoding="utf-8"))
    progress = _resume(out, chosen, model, _optimizer(model, chosen), interrupted=False)
    if progress is None:
        raise TraceError(out, f"holds no {CHECKPOINT}; train first")
    export(model, tokenizer, sources, corpus, chosen, progress, out / "model", threads=threads)


def train_step(
    model: "Qwen3MoeForCausalLM",
    optimizer: torch.optim.Optimizer,
    windows: "np.typing.NDArray[np.uint16]",
    *,
    rate: float,
    preset: Preset,
) -> tuple[float, float]:
    """Learn from windows [B, T+1]; return the next-token loss and the load-balancing loss."""
    tokens = torch.from_numpy(windows.astype(np.int64)).to(model.device)
    for group in optimizer.param_groups:
        group["lr"] = rate
    inputs = {"input_ids": tokens[:, :-1], "output_router_logits": True, "use_cache": False}
    if preset.dtype == "bfloat16":
        # Not autocast: grouped_mm takes no part in it, and would multiply in float32.
        weights = {name: weight.to(torch.bfloat16) for name, weight in model.named_parameters()}
        output = torch.func.functional_call(model, weights, kwargs=inputs)
    else:
        output = model(**inputs)
    loss = next_token_loss(output.logits, tokens[:, 1:])
    balance = balance_loss(output.router_logits, preset.top_k)
    (loss + preset.balance_weight * preset.num_layers * balance).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), preset.clip_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach()), float(balance.detach())


def learning_rate(preset: Preset, *, step: int, spent_frac: float) -> float:
    """Return the learning rate: a linear warm-up by steps, then a cosine down to a twentieth by time spent."""
    warm = min(1.0, (step + 1) / preset.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(spent_frac, 1.0)))
    return preset.peak_learning_rate * warm * (0.05 + 0.95 * cosine)


def export(
    model: "Qwen3MoeForCausalLM",
    tokenizer: "Tokenizer",
    sources: list[SourceTokens],
    corpus: object,
    preset: Preset,
    progress: Progress,
    folder: Path,
    *,
    threads: int,
) -> None:
    """Write the model in bfloat16 with its tokenizer, and `training.json`: what the model card's figures come from.

    The losses and loads in it are those of the bfloat16 weights.
    """
    from transformers import PreTrainedTokenizerFast

    torch.nn.Module.to(model, torch.bfloat16)
    model.generation_config.update(do_sample=True, temperature=0.8, top_p=0.95, top_k=0)  # greedily, it repeats itself
    model.save_pretrained(folder, max_shard_size=_SHARD_BYTES)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END_OF_TEXT, eos_token=END_OF_TEXT, pad_token=END_OF_TEXT
    ).save_pretrained(folder)
    torch.nn.Module.to(model, torch.float32)
    length = preset.window_tokens
    found = evaluate(model, sources, windows=_WINDOWS_AT_THE_END, length=length)
    ngrams = ngram_losses(sources, vocabulary=preset.vocabulary, windows=_WINDOWS_AT_THE_END, length=length)
    figures = {
        "corpus": corpus,
        "preset": asdict(preset),
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "device": device_name(model.device),
        "threads": threads,
        "torch": torch.__version__,
        "started": progress.started,
        "ended": _now(),
        "elapsed_s": round(progress.elapsed_s, 1),
        "interruptions": progress.interruptions,
        "steps": progress.step,
        "tokens_seen": progress.tokens,
        "train_tokens": {source.name: len(source.train) for source in sources},
        "held_out_tokens": {source.name: len(source.held_out) for source in sources},
        "share_frac": {source.name: source.share_frac for source in sources},
        "held_out_loss": _rounded(found.loss) | {"all": round(found.mean_loss(sources), 4)},
        "unigram_loss": _rounded(ngrams["unigram"]) | {"all": _mean(ngrams["unigram"], sources)},
        "bigram_loss": _rounded(ngrams["bigram"]) | {"all": _mean(ngrams["bigram"], sources)},
        "load_frac": found.load(sources).round(5).tolist(),
        "load_frac_by_source": {name: load.round(5).tolist() for name, load in found.load_by_source.items()},
        "evaluations": progress.evaluations,
        "log": progress.log,
    }
    write_text_atomically(folder / FIGURES, json.dumps(figures) + "\n")


def _prepare(data: Path, out: Path, preset: Preset, console: Console) -> "Tokenizer":
    """Return the tokenizer; train it and encode the corpus if that has not been done."""
    from tokenizers import Tokenizer

    path, done = out / "tokenizer.json", out / "tokens" / "done"
    if not path.exists():
        with console.status("training the tokenizer"):
            tokenizer = train_tokenizer(data, preset.vocabulary)
        write_text_atomically(path, tokenizer.to_str())
    tokenizer = Tokenizer.from_file(str(path))
    if not done.exists():
        with console.status("encoding the corpus"):
            encode_corpus(data, tokenizer, out / "tokens")
        done.touch()
    return tokenizer


def _stop_on_signals() -> threading.Event:
    """Return an event that SIGINT and SIGTERM set, so that the step that is running is finished and saved."""
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: stop.set())
    return stop


def _optimizer(model: "Qwen3MoeForCausalLM", preset: Preset) -> torch.optim.Optimizer:
    """Return AdamW, with weight decay on matrices alone."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": preset.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=preset.peak_learning_rate, betas=(0.9, 0.95), fused=True)


def _save(
    out: Path, preset: Preset, model: "Qwen3MoeForCausalLM", optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write the checkpoint and the log, each whole or not at all."""
    state = {
        "preset": asdict(preset),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": asdict(progress),
    }
    temporary = out / f".{CHECKPOINT}.{os.getpid()}"
    torch.save(state, temporary)
    temporary.replace(out / CHECKPOINT)
    write_text_atomically(out / LOG, json.dumps({"log": progress.log, "evaluations": progress.evaluations}) + "\n")


def _resume(
    out: Path,
    preset: Preset,
    model: "Qwen3MoeForCausalLM",
    optimizer: torch.optim.Optimizer,
    *,
    interrupted: bool = True,
) -> Progress | None:
    """Load the checkpoint, if there is one. Raises TraceError if it is of another preset."""
    path = out / CHECKPOINT
    if not path.exists():
        return None
    state = torch.load(path, map_location=model.device, weights_only=True)
    if state["preset"] != asdict(preset):
        raise TraceError(path, "was trained with another preset; name that one, or another --out")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    progress = Progress(**state["progress"])
    progress.interruptions += interrupted
    return progress


def _evaluation_row(progress: Progress, found: Evaluation, sources: list[SourceTokens]) -> dict[str, object]:
    return {
        "step": progress.step,
        "tokens": progress.tokens,
        "elapsed_s": round(progress.elapsed_s, 1),
        "held_out_loss": round(found.mean_loss(sources), 4),
        "by_source": _rounded(found.loss),
        "least_load_frac": float(found.load(sources).min().round(5)),
    }


def _mean(losses: dict[str, float], sources: list[SourceTokens]) -> float:
    return round(Evaluation(loss=losses, load_by_source={}).mean_loss(sources), 4)


def _rounded(losses: dict[str, float]) -> dict[str, float]:
    return {name: round(loss, 4) for name, loss in losses.items()}


def _device(preset: str) -> torch.device:
    if preset == "gpu" and not torch.cuda.is_available():
        raise TraceError("--preset gpu", "no CUDA device is here; use --preset cpu")
    return torch.device("cuda" if preset == "gpu" else "cpu")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


if __name__ == "__main__":
    try:
        app()
    except TraceError as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False)
        sys.exit(2)
