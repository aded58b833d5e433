"""Capture a trace of a model by running prompts through it; what `moesim capture` does."""

import inspect
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
import transformers
from torch import Tensor
from transformers.models.auto import modeling_auto

from traces.capture.layers import find_moe_layers
from traces.capture.output import TraceOutput
from traces.capture.prompts import NO_CATEGORY, Prompt, category_names
from traces.capture.recorder import Recorder, record
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
    network_class = _check_config(model, options)
    tokenizer = _load_tokenizer(model, options)
    encoded = [_encode(tokenizer, prompt) for prompt in prompts]
    network = _load_network(network_class, model, options)
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
        model_name=Path(model).resolve().name if Path(model).is_dir() else model,
        source=options.source,
        licence=options.licence,
        extra=_run_metadata(network, options),
    )
    transformers.set_seed(options.seed)
    pad = _padding_id(tokenizer)
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
    token_ids, mask = _pad(encoded, pad, left=not options.teacher_forced)
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


def _check_config(model: str, options: CaptureOptions) -> "type[transformers.AutoModelForCausalLM]":
    """Return the auto class for the model, after refusing what cannot be captured; no weights are loaded for that."""
    if Path(model).is_absolute() or model.startswith((".", "~")):
        if not Path(model).is_dir():
            raise TraceError(model, "no such directory; name a local model, or a hub id")
    elif not Path(model).exists() and model.count("/") > 1:
        raise TraceError(model, "is no directory here, and no hub id (owner/name)")
    try:
        config = transformers.AutoConfig.from_pretrained(model, trust_remote_code=options.trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise TraceError(model, f"cannot be loaded: {_first_line(error)}") from None
    remote = getattr(config, "auto_map", None) if options.trust_remote_code else None
    auto_classes = (
        (transformers.AutoModelForCausalLM, modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
        (transformers.AutoModelForSeq2SeqLM, modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES),
        (transformers.AutoModelForImageTextToText, modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES),
    )
    found: list[type[transformers.AutoModelForCausalLM]] = [
        auto for auto, names in auto_classes if config.model_type in names or auto.__name__ in (remote or {})
    ]
    if not found or _is_encoder(config):
        raise TraceError(
            model, f"({config.model_type}) is encoder-only or makes no text; capture needs a model that generates"
        )
    if remote is None:
        with torch.device("meta"):
            find_moe_layers(found[0].from_config(config))
    return found[0]


def _is_encoder(config: transformers.PreTrainedConfig) -> bool:
    """Tell whether the checkpoint was saved as an encoder, of an architecture that could be a decoder too."""
    masked = config.model_type in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    made = getattr(config, "architectures", None) or []
    generates = any("CausalLM" in name or "LMHead" in name or "Generation" in name for name in made)
    return masked and not generates and not config.is_encoder_decoder and not getattr(config, "is_decoder", False)


def _load_tokenizer(model: str, options: CaptureOptions) -> transformers.PreTrainedTokenizerBase:
    name = options.tokenizer or model
    try:
        tokenizer: transformers.PreTrainedTokenizerBase = transformers.AutoTokenizer.from_pretrained(
            name, trust_remote_code=options.trust_remote_code
        )
    except Exception as error:
        raise TraceError(
            name, f"has no tokenizer that can be loaded ({_first_line(error)}); name one with --tokenizer"
        ) from None
    if not len(tokenizer):
        raise TraceError(name, "has a tokenizer without a vocabulary; name one with --tokenizer")
    return tokenizer


def _load_network(
    auto_class: "type[transformers.AutoModelForCausalLM]", model: str, options: CaptureOptions
) -> transformers.PreTrainedModel:
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    several = options.device == "auto" and torch.cuda.device_count() > 1
    can_place = find_spec("accelerate") is not None
    if several and not can_place:
        raise TraceError(
            "--device", "auto spreads the model over several GPUs with accelerate: pip install accelerate, or name one"
        )
    keywords: dict[str, object] = {}
    if device != "cpu" and can_place:  # weights go straight to the GPU
        keywords = {"device_map": "auto" if several else device}
    try:
        network: transformers.PreTrainedModel = auto_class.from_pretrained(
            model, dtype=options.dtype, trust_remote_code=options.trust_remote_code, **keywords
        )
    except (OSError, ValueError, ImportError) as error:
        raise TraceError(model, f"cannot be loaded: {_first_line(error)}") from None
    if not keywords:
        network.to(torch.device(device))
    network.eval()
    return network


def _encode(tokenizer: transformers.PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
    if prompt.messages is not None:
        if not tokenizer.chat_template:
            raise TraceError(
                prompt.where, "has messages, but the tokenizer has no chat template; give a prompt instead"
            )
        try:
            text = tokenizer.apply_chat_template(
                [dict(message) for message in prompt.messages], add_generation_prompt=True, tokenize=False
            )
        except Exception as error:
            raise TraceError(prompt.where, f"does not fit the chat template: {_first_line(error)}") from None
        token_ids = tokenizer(str(text), add_special_tokens=False)["input_ids"]
    else:
        token_ids = tokenizer(prompt.text)["input_ids"]
    if not token_ids:
        raise TraceError(prompt.where, "is a prompt without tokens")
    return [int(one) for one in token_ids]


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


def _padding_id(tokenizer: transformers.PreTrainedTokenizerBase) -> int:
    """Return any valid id to pad with; padding is masked and never recorded."""
    for found in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if isinstance(found, int):
            return found
    return 0


def _pad(encoded: Sequence[Sequence[int]], pad: int, *, left: bool) -> tuple[Tensor, Tensor]:
    """Return token ids and mask, both [B, W]."""
    width = max(len(one) for one in encoded)
    token_ids = torch.full((len(encoded), width), pad, dtype=torch.int64)
    mask = torch.zeros_like(token_ids)
    for row, one in enumerate(encoded):
        at = slice(width - len(one), width) if left else slice(0, len(one))
        token_ids[row, at] = torch.tensor(one)
        mask[row, at] = 1
    return token_ids, mask


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


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
