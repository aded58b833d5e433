"""Capture a trace of a model by running prompts through it; what `moesim capture` does."""

import inspect
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers

from traces.capture.loading import find_auto_class, load_network, load_tokenizer
from traces.capture.output import TraceOutput
from traces.capture.prompts import NO_CATEGORY, Prompt, category_names
from traces.capture.recorder import Recorder, record
from traces.capture.tokens import encode_prompt, pad_batch, padding_id
from traces.errors import TraceError

DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureOptions:
    """How to run the prompts. `device` is `auto`, `cpu`, `cuda` or `cuda:N`; `dtype` one of `DTYPES`."""

    max_new_tokens: int = 128
    batch: int = 1
    dtype: str = "auto"
    device: str = "auto"
    lookahead: int = 0
    seed: int = 0
    teacher_forced: bool = False
    gate_weights: bool = True
    token_ids: bool = False
    tokenizer: str | None = None
    trust_remote_code: bool = False
    model_name: str | None = None
    source: str = "unknown"
    licence: str = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureSummary:
    """What a capture has recorded."""

    num_sequences: int
    num_tokens: int
    num_layers: int
    num_experts: int
    duration_s: float


Progress = Callable[[int], None]
"""Called with the number of prompts that have been run."""


def capture_prompts(
    model: str, prompts: Sequence[Prompt], out: Path, options: CaptureOptions, progress: Progress = lambda _done: None
) -> CaptureSummary:
    """Load `model`, a hub id or a local path, run the prompts through it and write the trace to `out`.

    Interrupted, it writes what has been recorded, a valid shorter trace, before the interrupt goes on.
    Raises TraceError for a model without experts, without a decoder or without a tokenizer, and for faulty options.
    """
    _check_options(options)
    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()
    TraceOutput.check_free(out)  # before minutes of loading
    trust = options.trust_remote_code
    auto_class = find_auto_class(model, trust_remote_code=trust)
    tokenizer = load_tokenizer(options.tokenizer or model, trust_remote_code=trust)
    encoded = [encode_prompt(tokenizer, prompt) for prompt in prompts]
    network = load_network(auto_class, model, dtype=options.dtype, device=options.device, trust_remote_code=trust)
    if options.teacher_forced and network.config.is_encoder_decoder:
        raise TraceError(model, "is an encoder-decoder model, whose decoder is not fed the prompt; generate instead")
    _check_lengths(network, prompts, encoded, options)
    started = time.perf_counter()
    recorder = record(
        network,
        out,
        lookahead=options.lookahead,
        gate_weights=options.gate_weights,
        token_ids=options.token_ids,
        eos_token_ids=() if options.teacher_forced else None,
        categories=category_names(prompts),
        model_name=options.model_name or (Path(model).resolve().name if Path(model).is_dir() else model),
        source=options.source,
        licence=options.licence,
        extra=_run_metadata(network, options),
    )
    transformers.set_seed(options.seed)
    pad = padding_id(tokenizer)
    with recorder, torch.inference_mode():
        done = 0
        for rows in _batches(list(zip(prompts, encoded, strict=True)), options.batch):
            _run_batch(network, recorder, rows, pad, options)
            done += len(rows)
            progress(done)
    return CaptureSummary(
        num_sequences=recorder.num_sequences,
        num_tokens=recorder.num_tokens,
        num_layers=len(recorder.layers),
        num_experts=recorder.num_experts,
        duration_s=time.perf_counter() - started,
    )


def _run_batch(
    network: transformers.PreTrainedModel,
    recorder: Recorder,
    rows: Sequence[tuple[Prompt, list[int]]],
    pad: int,
    options: CaptureOptions,
) -> None:
    categories = [prompt.category or NO_CATEGORY for prompt, _ in rows] if recorder.categories else None
    encoded = [token_ids for _, token_ids in rows]
    token_ids, mask = pad_batch(encoded, pad, left=not options.teacher_forced)
    token_ids, mask = token_ids.to(network.device), mask.to(network.device)
    if options.teacher_forced:
        recorder.new_sequences(categories=categories)
        keep = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(type(network).forward).parameters else {}
        network(input_ids=token_ids, attention_mask=mask, use_cache=False, **keep)
        recorder.end_sequences()
        return
    is_decoder_prompt = not network.config.is_encoder_decoder
    prompt_tokens = [len(one) for one in encoded] if is_decoder_prompt else None
    new_tokens = [prompt.max_new_tokens or options.max_new_tokens for prompt, _ in rows]
    recorder.new_sequences(
        attention_mask=mask if is_decoder_prompt else None, prompt_tokens=prompt_tokens, categories=categories
    )
    network.generate(
        input_ids=token_ids,
        attention_mask=mask,
        max_new_tokens=max(new_tokens),
        pad_token_id=pad,
        num_beams=1,
        num_return_sequences=1,
        use_cache=True,
        disable_compile=True,
    )
    # the last token that is generated is never fed; an encoder's decoder starts from one token
    starts = prompt_tokens or [1] * len(rows)
    recorder.end_sequences([start + new - 1 for start, new in zip(starts, new_tokens, strict=True)])


def _check_options(options: CaptureOptions) -> None:
    for name, value, least in (
        ("--max-new-tokens", options.max_new_tokens, 1),
        ("--batch", options.batch, 1),
        ("--lookahead", options.lookahead, 0),
    ):
        if value < least:
            raise TraceError(name, f"is {value}; it should be {least} or more")
    if options.dtype not in DTYPES:
        raise TraceError("--dtype", f"is {options.dtype!r}; it should be one of {', '.join(DTYPES)}")
    kind = options.device.partition(":")[0]
    if kind not in ("auto", "cpu", "cuda", "mps", "xpu"):
        raise TraceError("--device", f"is {options.device!r}; it should be auto, cpu, cuda or cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        raise TraceError("--device", f"is {options.device!r}, but torch {torch.__version__} sees no CUDA device")


def _check_lengths(
    network: transformers.PreTrainedModel,
    prompts: Sequence[Prompt],
    encoded: Sequence[Sequence[int]],
    options: CaptureOptions,
) -> None:
    text_config = network.config.get_text_config(decoder=True)
    positions = getattr(text_config, "max_position_embeddings", None)
    if not isinstance(positions, int):
        return
    for prompt, token_ids in zip(prompts, encoded, strict=True):
        new = 0 if options.teacher_forced else prompt.max_new_tokens or options.max_new_tokens
        if len(token_ids) + new > positions:
            raise TraceError(
                prompt.where,
                f"has {len(token_ids)} tokens and asks for {new} more, but the model has {positions} positions",
            )


def _batches(rows: Sequence[tuple[Prompt, list[int]]], batch: int) -> Iterator[Sequence[tuple[Prompt, list[int]]]]:
    for start in range(0, len(rows), batch):
        yield rows[start : start + batch]


def _run_metadata(network: transformers.PreTrainedModel, options: CaptureOptions) -> Mapping[str, str]:
    if options.teacher_forced:
        return {"run": json.dumps({"mode": "teacher-forced", "batch": options.batch})}
    chosen = getattr(network, "generation_config", None)
    sampling = {name: getattr(chosen, name, None) for name in ("do_sample", "temperature", "top_k", "top_p")}
    run = {
        "mode": "generate",
        "batch": options.batch,
        "max_new_tokens": options.max_new_tokens,
        "seed": options.seed,
    } | {name: value for name, value in sampling.items() if value is not None}
    return {"run": json.dumps(run)}
