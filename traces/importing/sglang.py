"""Import the routed experts that SGLang returns for requests with `return_routed_experts`.

`/generate` has them in `meta_info.routed_experts`, the OpenAI endpoints in `choices[i].sgl_ext.routed_experts` (older:
`choices[i].routed_experts`): base64 of flat int32, of the logical shape [tokens, layers, top_k], so `--num-layers` and
`--top-k` are needed. Rows cover tokens `routed_experts_start_len` (0 by default) to all but the last; a first row
beyond 0 becomes `context_start`. Layers count dense ones too, whose slots hold -1, 0 or 255: leave them out with
`--skip-layer`.

Source: sgl-project/sglang, docs/basic_usage/openai_api_completions.md and pull requests 12162 and 17434;
sgl-project/sglang-jax, docs/features/return_routed_experts.md, for the placeholder -1.
Limits: gate weights are not returned, so a trace has none. Fused shared experts, if any, are not told apart.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from traces.errors import TraceError
from traces.importing.options import ImportOptions
from traces.importing.recorded import Recorded
from traces.importing.responses import Request, decode, read_requests, whole_number


def read_sglang(path: Path, options: ImportOptions) -> Recorded:
    """Read `.json`, `.jsonl`, `.npy` or `.npz` of SGLang's. Raises TraceError, OSError."""
    return read_requests(path, options, _requests, captured="SGLang, --enable-return-routed-experts")


def _requests(path: Path, where: str, response: dict[str, Any], options: ImportOptions) -> Iterator[Request]:
    model = response.get("model")
    choices = response.get("choices", [response])
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise TraceError(path, f"{where}: choices should be a list of objects")
    for number, choice in enumerate(choices):
        field = f"{where}, choice {number}: routed_experts"
        said = choice.get("meta_info") or choice.get("sgl_ext") or choice
        routed = said.get("routed_experts") if isinstance(said, dict) else None
        if routed is None:
            raise TraceError(path, f"{field} is missing; did the request ask for return_routed_experts?")
        ids = decode(path, field, routed, options)
        counts = said if "meta_info" in choice else response.get("usage")
        prompt_tokens, completion_tokens = (
            whole_number(counts, "prompt_tokens"),
            whole_number(counts, "completion_tokens"),
        )
        context = 0
        if prompt_tokens is not None and completion_tokens is not None and len(choices) == 1:
            context = prompt_tokens + completion_tokens - 1 - len(ids)
            if context < 0:
                raise TraceError(
                    path,
                    f"{field} has {len(ids)} rows, more than {prompt_tokens} prompt and {completion_tokens} completion "
                    "tokens less the last: check --num-layers and --top-k",
                )
            prompt_tokens = max(prompt_tokens - context, 0)
        else:
            prompt_tokens = None
        yield Request(
            expert_ids=ids,
            prompt_tokens=prompt_tokens,
            context_start=context,
            model=model if isinstance(model, str) else None,
        )
