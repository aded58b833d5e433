"""The keys of a scenario that make it a service: `scheduler`, `slo`, `stop`, `warmup`; what arrives is in `workload`.

scheduler: {policy: mixed, max_batch: 32, max_step_tokens: 512, preemption: swap}
slo: {default: {ttft: "2 s", itl: "300 ms"}}
stop: {time: "1 h"}
warmup: mser5
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from hardware_profiles.yaml_file import strict
from simulator.fields import BytesText, Count
from simulator.metrics.goodput import Slo
from simulator.serving.limits import Limits
from simulator.serving.stop import Bounds
from simulator.serving.warmup import MSER5, NONE
from simulator.workload.quantities import parse_span_ns

NS_PER_S = 10**9


def _span_text(value: object) -> object:
    if value is None:
        return value
    parse_span_ns(value)
    return value


def _warmup_text(value: object) -> object:
    if value is None or value in (MSER5, NONE):
        return value
    try:
        parse_span_ns(value)
    except ValueError:
        raise ValueError(f'{value!r} is neither {MSER5}, {NONE} nor a time with its unit, such as "30 s"') from None
    return value


Span = Annotated[str | None, BeforeValidator(_span_text)]
WarmupText = Annotated[str | None, BeforeValidator(_warmup_text)]
Frac = Annotated[float, Field(ge=0, le=1)]
Priority = Annotated[int, Field(strict=True, ge=-1000, le=1000)]


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerChoice:
    """How requests are served: see `simulator.serving.scheduler` and `simulator.serving.memory`.

    `policy` says what goes first: prefill_first, prompts before output tokens; decode_first, prompts only when nothing
    decodes; mixed, output tokens and chunks of prompts in one step. `max_batch` requests run at once; `max_step_tokens` is
    the most tokens of a step; `prefill_chunk_tokens` the most of one prompt in a step. A request that finds `max_waiting` in
    the queue is refused. `priorities` by class: higher goes first; `displace` lets a request take the place of a running one
    of lower priority; `preemption` says what becomes of the KV cache of a request that gives way.

    `kv_cache` is how much KV cache there may be; without it, what the expert cache and all else leave of GPU memory.
    `memory` is dynamic where expert slots make room for more. `page_tokens` are the tokens of a page of KV cache;
    `spare_frac` is the share of it that is kept free when a request is let in.
    """

    policy: Literal["prefill_first", "decode_first", "mixed"] = "prefill_first"
    max_batch: Count = 32
    max_step_tokens: Count = 2048
    prefill_chunk_tokens: Count | None = None
    max_waiting: Count | None = None
    preemption: Literal["recompute", "swap"] = "recompute"
    displace: bool = False
    priorities: dict[str, Priority] = field(default_factory=dict)
    page_tokens: Count = 16
    spare_frac: Frac = 0.01
    kv_cache: BytesText = None
    memory: Literal["fixed", "dynamic"] = "fixed"


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class SloChoice:
    """What each of a class's requests should keep to: time to the first token (`ttft`), a request's mean time between tokens
    (`tpot`), each single time between two of its tokens (`itl`), time to the last token (`e2e`).
    """

    ttft: Span = None
    tpot: Span = None
    itl: Span = None
    e2e: Span = None


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class StopChoice:
    """Where a run ends, whichever comes first.

    `requests` answered; `tokens` put out; `time` simulated; `wall_time` taken to simulate.
    """

    requests: Count | None = None
    tokens: Count | None = None
    time: Span = None
    wall_time: Span = None


def limits_of(choice: SchedulerChoice) -> Limits:
    """Return what a scheduler keeps to."""
    return Limits(
        batch=choice.max_batch,
        step_tokens=choice.max_step_tokens,
        chunk_tokens=choice.prefill_chunk_tokens,
        waiting=choice.max_waiting,
        preemption=choice.preemption,
        spare_frac=choice.spare_frac,
        displaces=choice.displace,
        priorities=choice.priorities,
    )


def slos_of(choices: Mapping[str, SloChoice]) -> dict[str, Slo]:
    """Return the objectives by class."""
    return {
        name: Slo(ttft_ns=_ns(choice.ttft), tpot_ns=_ns(choice.tpot), itl_ns=_ns(choice.itl), e2e_ns=_ns(choice.e2e))
        for name, choice in choices.items()
    }


def bounds_of(choice: StopChoice) -> Bounds:
    """Return where a run ends."""
    wall_ns = _ns(choice.wall_time)
    return Bounds(
        requests=choice.requests,
        tokens=choice.tokens,
        time_ns=_ns(choice.time),
        wall_s=None if wall_ns is None else wall_ns / NS_PER_S,
    )


def _ns(text: str | None) -> int | None:
    return None if text is None else parse_span_ns(text)
