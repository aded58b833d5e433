"""The sequences of a suite's model as a trace: cut out of a recorded one, or recorded from the model's own gates.

Both the replay and the simulation run this trace, so that they do the same work.

Legend: T tokens, S sequences.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from hardware_profiles.errors import InputError
from traces.format import Sequences, Trace, open_trace, write_text_atomically, write_trace
from validation.compare.suite import SuiteModel

Record = Callable[[str, SuiteModel, Path], None]
"""Called with a model's name, the model, and the path of the trace to write: its own routing of its sequences."""


def prepare_trace(name: str, model: SuiteModel, target: Path, record: Record) -> Path:
    """Write the trace of a model's sequences to `target`, unless it is there already. Returns `target`.

    Beside it stands what it was made of. Raises InputError if that differs from what is asked for now, TraceError for a
    trace that is at fault.
    """
    made_of = target.with_suffix(".json")
    origin = {key: value for key, value in asdict(model).items() if key not in ("trace", "config")}
    if model.config is not None:
        origin["config_sha256"] = hashlib.sha256(Path(model.config).read_bytes()).hexdigest()
    if model.trace is not None:
        origin["trace_sha256"] = open_trace(model.trace).digest()
    text = json.dumps(origin, indent=1) + "\n"
    if target.exists() and made_of.exists():
        if made_of.read_text(encoding="utf-8") != text:
            raise InputError(target, f"holds other sequences of {name} than the suite asks for; name another folder")
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    if model.routing == "forced":
        assert model.trace is not None
        trace = open_trace(model.trace)
        cut = cut_sequences(trace, model, name)
        source = f"{trace.metadata.source}; cut to {model.prompt_tokens} + {model.output_tokens} tokens"
        write_trace(target, cut, replace(trace.metadata, source=source), overwrite=True)
    else:
        target.unlink(missing_ok=True)
        record(name, model, target)
    write_text_atomically(made_of, text)
    return target


def cut_sequences(trace: Trace, model: SuiteModel, name: str) -> Sequences:
    """Return the first sequences that are long enough: the end of the prompt, and the beginning of what follows.

    Raises InputError if there are too few, saying how many there are.
    """
    length = model.prompt_tokens + model.output_tokens
    starts = trace.sequence_start[:-1] + trace.prompt_tokens - model.prompt_tokens
    fits = (trace.prompt_tokens >= model.prompt_tokens) & (starts + length <= trace.sequence_start[1:])
    chosen_S = np.flatnonzero(fits)[: model.sequences]
    if len(chosen_S) < model.sequences:
        raise InputError(
            f"models.{name}",
            f"asks for {model.sequences} sequences of {model.prompt_tokens} prompt tokens and {model.output_tokens} more; "
            f"{trace.path} has {len(chosen_S)}: ask for fewer, or shorter ones",
        )
    whole = trace.sequences()
    rows_T = (starts[chosen_S][:, None] + np.arange(length)[None, :]).ravel()
    category = whole.sequence_category
    return Sequences(
        expert_ids=whole.expert_ids[rows_T],
        gate_weights=None if whole.gate_weights is None else whole.gate_weights[rows_T],
        lookahead_ids=None if whole.lookahead_ids is None else whole.lookahead_ids[rows_T],
        sequence_start=np.arange(len(chosen_S) + 1, dtype=np.int64) * length,
        prompt_tokens=np.full(len(chosen_S), model.prompt_tokens, dtype=np.int32),
        sequence_category=None if category is None else category[chosen_S],
    )
