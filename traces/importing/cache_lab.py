"""Import moe-cache-lab's routing JSON lines, versions 1 and 2 of `moe-cache-lab.routing-jsonl`.

A `metadata` record, then a `routing_selection` record per token and layer: `phase`, `token_position`, `layer`,
`selected_experts` and `selected_probabilities` (empty if unknown). A file is one sequence; import several at once to
have several. Version 2 adds `routing_stage`; the decoder alone makes a trace.

Source: birkansit/moe-cache-lab, TRACE_FORMAT.md.
Limits: encoder stages and capacity-dropped (unassigned) tokens have no place in a trace and are refused.
"""

from pathlib import Path
from typing import Any

import numpy as np

from traces.errors import TraceError
from traces.importing.options import ImportOptions
from traces.importing.policylang import leading_prompt
from traces.importing.recorded import Recorded
from traces.importing.rows import Rows
from traces.importing.text import parse_object, read_lines, to_float, to_int

FORMAT = "moe-cache-lab.routing-jsonl"
_PHASES = {"prompt": True, "generated": False, "decoder_prompt": True, "decoder_generated": False}


def read_cache_lab(path: Path, options: ImportOptions) -> Recorded:
    """Read JSON lines of moe-cache-lab. Raises TraceError, OSError."""
    header: dict[str, Any] = {}
    rows = Rows(path)
    is_prompt: list[bool | None] = []
    for number, text in read_lines(path, options):
        line = parse_object(path, number, text)
        if not header:
            if line.get("format") != FORMAT or line.get("format_version") not in (1, 2):
                raise TraceError(
                    path, f"line {number}: format {line.get('format')!r}, version {line.get('format_version')!r}; "
                    f"this reads {FORMAT}, versions 1 and 2"
                )  # fmt: skip
            header = line
            continue
        where = f"line {number}: "
        phase, experts = line.get("phase"), line.get("selected_experts")
        if line.get("record_type") != "routing_selection" or not isinstance(experts, list):
            raise TraceError(path, f"{where}should be a routing_selection with selected_experts: {text[:60]!r}")
        if line.get("routing_stage", "decoder") != "decoder" or phase not in _PHASES:
            raise TraceError(
                path,
                f"{where}is of the stage {line.get('routing_stage')!r}, phase {phase!r}; a trace holds a decoder's",
            )
        if line.get("assignment_state", "assigned") != "assigned":
            raise TraceError(
                path, f"{where}is {line['assignment_state']}: a token without experts has no place in a trace"
            )
        layer = to_int(path, where + "layer", line.get("layer"))
        if layer in options.skip_layers:
            continue
        scores = line.get("selected_probabilities") or []
        if not isinstance(scores, list):
            raise TraceError(path, f"{where}selected_probabilities should be a list")
        rows.add(
            number,
            sequence=0,
            token=to_int(path, where + "token_position", line.get("token_position")),
            layer=layer,
            experts=[to_int(path, where + "selected_experts", expert) for expert in experts],
            weights=[to_float(path, where + "selected_probabilities", score) for score in scores],
        )
        is_prompt.append(_PHASES[phase])
    assembled = rows.assemble()
    num_experts = _num_experts(path, header)
    captured = header.get("capture_method")
    return Recorded(
        path=path,
        expert_ids=assembled.expert_ids,
        lengths=assembled.lengths,
        gate_weights=assembled.gate_weights,
        prompt_tokens=leading_prompt(path, [is_prompt[row] for row in assembled.token_row], assembled.lengths),
        context_start=np.maximum(assembled.first_token, 0),
        num_experts=num_experts,
        model=str(header["model_id"]) if header.get("model_id") else None,
        captured=f"moe-cache-lab, {captured}" if captured else "moe-cache-lab",
        extra={"source_layers": ",".join(map(str, assembled.layers))},
    )


def _num_experts(path: Path, header: dict[str, Any]) -> int | None:
    stages = header.get("routing_stages")
    if isinstance(stages, list):
        decoders = [stage for stage in stages if isinstance(stage, dict) and stage.get("routing_stage") == "decoder"]
        said = decoders[0].get("num_experts") if decoders else None
    else:
        said = header.get("num_experts")
    return None if said is None else to_int(path, "num_experts", said)
