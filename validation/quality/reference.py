"""The model as it is: its losses on each segment, and its routing as traces, of what is evaluated and what is learned from.

Legend: S segments, n tokens of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from traces.capture import record
from traces.format import Trace, open_trace, write_trace

LEARNED = "learned.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Losses in nats [S, n] of the unoffloaded model, a trace of each segment, and one of what is learned from."""

    losses: NDArray[np.float64]
    evaluated: Sequence[Trace]
    learned: Trace


def token_losses(logits: Tensor, targets: Tensor) -> NDArray[np.float64]:
    """Return the cross entropy of logits [n, V] against the ids [n] that followed, in double precision."""
    losses: NDArray[np.float64] = functional.cross_entropy(logits.double(), targets, reduction="none").cpu().numpy()
    return losses


def run_reference(
    model: PreTrainedModel, evaluated: Sequence[Sequence[int]], learned: Sequence[Sequence[int]], folder: Path
) -> Reference:
    """Run the whole model over each segment, in one pass of all its tokens, and write its routing into `folder`.

    In the traces every token is a decoded one: replaying them is a step for each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    losses, traces = [], []
    for number, segment in enumerate(evaluated):
        ids = torch.tensor([segment], device=model.device)
        logits, trace = _recorded(model, [ids[:, :-1]], folder / f"evaluated-{number:03d}.safetensors")
        losses.append(token_losses(logits, ids[0, 1:]))
        traces.append(trace)
    rows = [torch.tensor([segment], device=model.device) for segment in learned]
    _, learned_from = _recorded(model, rows, folder / LEARNED)
    return Reference(losses=np.stack(losses), evaluated=traces, learned=learned_from)


def _recorded(model: PreTrainedModel, rows: Sequence[Tensor], path: Path) -> tuple[Tensor, Trace]:
    """Run each row [1, n] in a pass of its own; return the logits of the last, and the routing of all."""
    with record(model, source="texts, teacher-forced", eos_token_ids=()) as recorder, torch.inference_mode():
        for ids in rows:
            recorder.new_sequences()
            logits: Tensor = model(input_ids=ids, use_cache=False).logits[0]
        sequences = recorder.sequences()
    decoded = replace(sequences, prompt_tokens=np.zeros_like(sequences.prompt_tokens))
    write_trace(path, decoded, recorder.metadata, overwrite=True)
    return logits, open_trace(path)
