"""The routing that a quick plan is simulated on: a recorded trace, or assumptions that are named where they are used.

- `uniform`: every expert as likely at every token, whatever came before. Caching gains nothing but its share.
- `skewed`: popularity falls by rank with exponent `skew`, and an expert's score is correlated from token to token by
  `stickiness` (`moesim trace synth`). The defaults hit LRU as gpt-oss-20b's recording does with a quarter of the experts in
  a generic model of its shape (64.4 % and 64.8 %); with half they hit less (85.1 % and 89.5 %). Other models differ.
- `all hits`: no expert is ever missing. No routing is faster.

Limits: a trace that is less kind than uniform can be made up; none that was recorded is.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hardware_profiles.errors import InputError
from simulator.cache import split_slots
from simulator.model.spec import ModelSpec, moe_layers
from simulator.mrc.accesses import bank_accesses
from simulator.mrc.lru import lru_hits
from traces.errors import TraceError
from traces.format import Trace, TraceMetadata, write_trace
from traces.synthesis.generate import draw_sequences
from traces.synthesis.generic import generic_model

DEFAULT_SKEW, DEFAULT_STICKINESS = 0.5, 0.6
_COUNTED_TOKENS = 1000
_FIT_SEQUENCES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Routing by name, what is assumed of it, and where its trace lies.

    Popularity is counted on the first `fit_sequences` of the trace, which are not run; 0: there are none to spare.
    """

    name: str
    assumption: str
    path: Path
    fit_sequences: int


def drawn_routing(
    folder: Path,
    model: ModelSpec,
    *,
    name: str,
    skew: float,
    stickiness: float,
    num_sequences: int,
    num_tokens: int,
    context_tokens: int,
    seed: int,
) -> Routing:
    """Draw sequences that decode `num_tokens` up to a context of `context_tokens`, and write them. Raises InputError.

    Some more are drawn to count popularity on.
    """
    try:
        routing = generic_model(
            num_layers=len(moe_layers(model)),
            num_experts=model.num_experts,
            top_k=model.top_k,
            skew=skew,
            stickiness=stickiness,
            sequence_tokens=num_tokens,
        )
    except TraceError as error:
        raise InputError("moesim plan", str(error)) from None
    drawn = draw_sequences(routing, num_tokens=(_FIT_SEQUENCES + num_sequences) * num_tokens, seed=seed)
    count = len(drawn.sequence_start) - 1
    sequences = replace(
        drawn,
        prompt_tokens=np.zeros(count, np.int32),
        context_start=np.full(count, context_tokens - num_tokens, np.int32),
    )
    path = folder / f"{name}.safetensors"
    write_trace(path, sequences, TraceMetadata(model=f"{model.name}, {name} routing", num_experts=model.num_experts))
    if skew == stickiness == 0:
        assumption = "uniform: every expert is as likely at every token, whatever came before"
    else:
        assumption = (
            f"{name}: popularity falls by rank with exponent {skew:g} (skew), scores of adjacent tokens correlate by "
            f"{stickiness:g} (stickiness); drawn, not recorded from this model"
        )
    return Routing(name=name, assumption=assumption, path=path, fit_sequences=_FIT_SEQUENCES)


def recorded_hit_frac(trace: Trace, num_slots: int, *, batch: int) -> tuple[float, int]:
    """Return LRU's hit rate, with slots for each layer, over the trace's first sequences, and how many tokens these have.

    The cache is empty at first. Sequences are taken until they hold a thousand tokens, so that it takes no time to speak of.
    """
    enough = int(np.searchsorted(trace.sequence_start, _COUNTED_TOKENS))
    sequences = range(min(max(batch, enough), trace.num_sequences))
    pools = bank_accesses(trace, sequences, batch=batch)
    slots = split_slots(num_slots, len(pools))
    hits = sum(int(lru_hits(pool)[min(size, pool.num_keys)]) for pool, size in zip(pools, slots, strict=True))
    accesses = sum(len(pool.keys) for pool in pools)
    return (hits / accesses if accesses else 0.0), int(trace.sequence_start[len(sequences)])
