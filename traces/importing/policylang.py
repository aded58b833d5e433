"""Import the JSON lines that MoE-PolicyLang's trace recorder writes.

A header line with `model_name`, `num_layers`, `num_experts` and `top_k`, then a line per prompt, token and layer: `p`,
`t`, `l`, the experts `e`, their scores `s` (softmax over all experts) and optionally `ph` (`prefill` or `decode`) and
`dm` (a domain, which becomes the category). Other keys are not imported.

Source: moe-policylang 1.15.0 on PyPI, moe_policylang/integrations/trace_recorder.py.
Limits: scores are softmax probabilities, which a model that renormalises over its top-k does not apply as they are.
Its Parquet variant is not read.
"""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.errors import TraceError
from traces.importing.options import ImportOptions
from traces.importing.recorded import Recorded
from traces.importing.rows import Rows
from traces.importing.text import parse_object, read_lines, to_float, to_int

_KEYS = ("p", "t", "l", "e", "s", "ph", "dm")


def read_policylang(path: Path, options: ImportOptions) -> Recorded:
    """Read JSON lines of the recorder. Raises TraceError, OSError."""
    header: dict[str, Any] = {}
    rows = Rows(path)
    prefill: list[bool | None] = []
    domains: dict[Hashable, str] = {}
    unused: dict[str, None] = {}
    for number, text in read_lines(path, options):
        line = parse_object(path, number, text)
        if not header:
            header = line
            if "model_name" not in header:
                raise TraceError(path, "line 1 should be a header with model_name, num_layers, num_experts and top_k")
            continue
        where = f"line {number}: "
        experts, scores = line.get("e"), line.get("s")
        if not isinstance(experts, list) or not isinstance(scores, (list, type(None))):
            raise TraceError(path, f"{where}e and s should be lists of experts and of their scores")
        layer = to_int(path, where + "l", line.get("l"))
        if layer in options.skip_layers:
            continue
        phase, prompt = line.get("ph"), line.get("p", 0)
        if phase not in (None, "prefill", "decode") or not isinstance(prompt, (int, str)):
            raise TraceError(path, f"{where}ph is {phase!r} and p {prompt!r}; ph should be prefill or decode")
        rows.add(
            number,
            sequence=prompt,
            token=to_int(path, where + "t", line.get("t")),
            layer=layer,
            experts=[to_int(path, where + "e", expert) for expert in experts],
            weights=[to_float(path, where + "s", score) for score in scores or ()],
        )
        prefill.append(None if phase is None else phase == "prefill")
        if line.get("dm") is not None:
            domains[prompt] = str(line["dm"])
        unused.update(dict.fromkeys(line.keys() - set(_KEYS)))
    assembled = rows.assemble()
    notes = [f"key not imported: {name}" for name in sorted(unused)]
    if header.get("num_layers") != len(assembled.layers):
        notes.append(f"the header says {header.get('num_layers')} layers, the rows have {len(assembled.layers)}")
    if assembled.gate_weights is not None:
        notes.append("gate weights are softmax probabilities, before any renormalisation over top-k")
    num_experts = header.get("num_experts")
    return Recorded(
        path=path,
        expert_ids=assembled.expert_ids,
        lengths=assembled.lengths,
        gate_weights=assembled.gate_weights,
        prompt_tokens=leading_prompt(path, [prefill[row] for row in assembled.token_row.tolist()], assembled.lengths),
        context_start=assembled.first_token,
        category=[domains.get(name, "none") for name in rows.sequences()] if domains else None,
        num_experts=None if num_experts is None else to_int(path, "num_experts", num_experts),
        model=str(header["model_name"]) or None,
        gate="softmax",
        captured="moe-policylang, record_trace",
        extra={"source_layers": ",".join(map(str, assembled.layers))},
        notes=tuple(notes),
    )


def leading_prompt(path: Path, is_prompt: list[bool | None], lengths: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return the prompt tokens of each sequence from a mark per token; None if there are no marks.

    Raises TraceError if only some tokens are marked, or a prompt token follows one that is not.
    """
    if all(mark is None for mark in is_prompt):
        return None
    if any(mark is None for mark in is_prompt):
        raise TraceError(path, "only some tokens say whether they are prompt; say it for all with --prompt-tokens")
    marks = np.array(is_prompt, bool)
    prompts = []
    start = 0
    for number, length in enumerate(lengths.tolist()):
        of_sequence = marks[start : start + length]
        count = int(of_sequence.sum())
        if not of_sequence[:count].all():
            raise TraceError(path, f"sequence {number} (from 0): a prompt token follows a generated one")
        prompts.append(count)
        start += length
    return np.array(prompts, np.int64)
