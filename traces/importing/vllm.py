"""Import the routed experts that vLLM returns when it runs with `--enable-return-routed-experts`.

A response has `choices[i].routed_experts` and, beside the choices, `prompt_routed_experts`, each [tokens, layers,
top_k]: nested lists in vLLM 0.21, base64 of a `.npy` file since; offline, `CompletionOutput.routed_experts` is such a
numpy array (save it with `numpy.save`, one file per request). Where `prompt_routed_experts` is null, `usage` tells
whether the rows cover the prompt. Each choice becomes a sequence of its own.

Source: vllm-project/vllm, docs/training/routed_experts_replay.md (v0.21) and docs/training/routed_experts.md (latest);
pull requests 28284 and 51906 for the fields and their encodings.
Limits: gate weights are not returned, so a trace has none. The last generated token is never run through the model and
has no routing.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from traces.errors import TraceError
from traces.importing.options import ImportOptions
from traces.importing.recorded import Recorded
from traces.importing.responses import Request, decode, read_requests, whole_number


def read_vllm(path: Path, options: ImportOptions) -> Recorded:
    """Read `.npy`, `.npz`, `.json` or `.jsonl` of vLLM's. Raises TraceError, OSError."""
    return read_requests(path, options, _requests, captured="vLLM, --enable-return-routed-experts")


def _requests(path: Path, where: str, response: dict[str, Any], options: ImportOptions) -> Iterator[Request]:
    choices = response.get("choices", [response])
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise TraceError(path, f"{where}: choices should be a list of objects")
    usage = response.get("usage")
    prompt_tokens, completion_tokens = whole_number(usage, "prompt_tokens"), whole_number(usage, "completion_tokens")
    model = response.get("model")
    of_prompt = response.get("prompt_routed_experts")
    for number, choice in enumerate(choices):
        field = f"{where}, choice {number}: routed_experts"
        routed = choice.get("routed_experts")
        prompt = choice.get("prompt_routed_experts") if of_prompt is None else of_prompt
        if routed is None and prompt is None:
            raise TraceError(path, f"{field} is missing; was the server started with --enable-return-routed-experts?")
        ids = None if routed is None else decode(path, field, routed, options)
        context = 0
        if prompt is not None:
            before = decode(path, f"{where}: prompt_routed_experts", prompt, options)
            if ids is not None and before.shape[1:] != ids.shape[1:]:
                raise TraceError(path, f"{field} has the shape {ids.shape}, that of the prompt {before.shape}")
            ids = before if ids is None or not len(ids) else np.concatenate([before, ids])
            prompt_tokens = len(before)
        elif prompt_tokens is not None and completion_tokens is not None and len(choices) == 1 and ids is not None:
            prompt_tokens, context = _covered(path, field, len(ids), prompt_tokens, completion_tokens)
        else:
            prompt_tokens = None
        assert ids is not None
        yield Request(
            expert_ids=ids,
            prompt_tokens=prompt_tokens,
            context_start=context,
            model=model if isinstance(model, str) else None,
        )


def _covered(path: Path, field: str, num_rows: int, prompt_tokens: int, completion_tokens: int) -> tuple[int, int]:
    """Return (prompt tokens among the rows, tokens before the first row)."""
    if num_rows in (completion_tokens, completion_tokens - 1):
        return 0, prompt_tokens
    missing = prompt_tokens + completion_tokens - 1 - num_rows
    if -1 <= missing <= prompt_tokens:
        return prompt_tokens - max(missing, 0), max(missing, 0)
    raise TraceError(
        path, f"{field} has {num_rows} rows, but usage {prompt_tokens} prompt and {completion_tokens} completion tokens"
    )
