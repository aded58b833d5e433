"""The quick plan: memory, speed under several routings, and which change helps most, in seconds and without a scenario.

Each speed is a short simulation: the cache starts with the experts that are most popular in other sequences of the same
routing, some steps warm it up, and the following are measured.

Limits: one closed batch that decodes at the end of its context; no prefill, no requests that come and go; LRU. A plan says
what to look at, `moesim run` and `moesim compare` look at it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from hardware_profiles.errors import InputError
from simulator.plan.quick_knobs import Knob, knobs
from simulator.plan.quick_memory import PREFILL_TOKENS, Memory, memory_of
from simulator.plan.quick_question import Question, hardware_set, model_of
from simulator.plan.quick_routing import Routing, drawn_routing, recorded_hit_frac
from simulator.run import simulate
from simulator.scenario import build_scenario
from traces.format import open_trace

_WARMUP_STEPS, _MEASURED_STEPS = 48, 48
_DRAWN, _BOUND = "skewed", "all hits"

Done = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What a short simulation gives. Seconds between output tokens of a sequence, and tokens per second of all."""

    tpot_s: float
    tokens_per_s: float
    hit_frac: float
    waiting_frac: float
    resident_experts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What a knob gives; `speed` is None where it leads nowhere, `reason` says why."""

    knob: Knob
    memory: Memory
    speed: Speed | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickPlan:
    """The answer. `speeds` by routing, the slowest assumption first; the knobs are judged on `judged_on`, best first."""

    question: Question
    memory: Memory
    speeds: Mapping[str, Speed]
    judged_on: str
    changes: Sequence[Changed]
    assumptions: Sequence[str]
    warnings: Sequence[str]


def quick_plan(
    question: Question,
    *,
    trace: Path | None,
    skew: float,
    stickiness: float,
    seed: int,
    assumed: Sequence[str] = (),
    done: Done | None = None,
) -> QuickPlan:
    """Answer a question. Raises InputError and TraceError for what is wrong with it.

    With a trace its routing stands in the place of the drawn one. `assumed` is what the caller has assumed already.
    """
    memory, model = memory_of(question), model_of(question)
    assumptions = [
        *assumed,
        f"prompts are prefilled {PREFILL_TOKENS} tokens at a time; each speed is of {_MEASURED_STEPS} steps after "
        f"{_WARMUP_STEPS} to warm up, at the end of a context of {question.context_tokens:,} tokens",
        "the cache is LRU, divided evenly among layers; it begins with what is most popular in other sequences of the same "
        "routing; misses are fetched on demand",
    ]
    if not memory.fits:
        tried = [Changed(knob=knob, memory=memory_of(knob.question), speed=None) for knob in knobs(question, memory)]
        helping = [change for change in tried if change.memory.fits]
        return QuickPlan(
            question=question,
            memory=memory,
            speeds={},
            judged_on="",
            changes=helping,
            assumptions=assumptions,
            warnings=[],
        )
    num_tokens = min(_WARMUP_STEPS + _MEASURED_STEPS, question.context_tokens)
    warnings: dict[str, None] = {}
    rests_on: dict[str, None] = {}
    speeds: dict[str, Speed] = {}
    tried_knobs = [knob for knob in knobs(question, memory) if memory_of(knob.question).fits]
    total = 3 + len(tried_knobs)
    with TemporaryDirectory(prefix="moesim-plan-") as folder:
        routings = [
            drawn_routing(
                Path(folder),
                model,
                name="uniform",
                skew=0,
                stickiness=0,
                num_sequences=question.batch,
                num_tokens=num_tokens,
                context_tokens=question.context_tokens,
                seed=seed,
            ),
            drawn_routing(
                Path(folder),
                model,
                name=_DRAWN,
                skew=skew,
                stickiness=stickiness,
                num_sequences=question.batch,
                num_tokens=num_tokens,
                context_tokens=question.context_tokens,
                seed=seed,
            )
            if trace is None
            else _recorded(trace, memory, question),
        ]
        assumptions += [routing.assumption for routing in routings]
        for routing in routings:
            speeds[routing.name] = _simulated(question, memory, routing, num_tokens, warnings, rests_on)
            _tell(done, routing.name, total)
        judged = routings[-1]
        speeds[_BOUND] = _simulated(question, memory, judged, num_tokens, {}, rests_on, all_resident=True)
        _tell(done, _BOUND, total)
        changes = []
        for knob in tried_knobs:
            with_knob = memory_of(knob.question)
            try:
                speed = _simulated(knob.question, with_knob, judged, num_tokens, {}, rests_on)
                changes.append(Changed(knob=knob, memory=with_knob, speed=speed))
            except InputError as error:
                changes.append(Changed(knob=knob, memory=with_knob, speed=None, reason=str(error)))
            _tell(done, knob.name, total)
    if memory.ram_short_bytes:
        warnings["the host cannot keep a copy of every expert: this needs a runtime that moves experts instead"] = None
    changes.sort(key=lambda change: float("inf") if change.speed is None else change.speed.tpot_s)
    return QuickPlan(
        question=question,
        memory=memory,
        speeds=speeds,
        judged_on=judged.name,
        changes=changes,
        assumptions=[*assumptions, *rests_on],
        warnings=list(warnings),
    )


def plain(plan: QuickPlan) -> dict[str, object]:
    """Return the answer as JSON has it, units in the keys."""
    memory = plan.memory
    return {
        "question": _plain_question(plan.question),
        "fits": memory.fits,
        "fits_without_offloading": memory.fits_without_offloading,
        "memory": asdict(memory),
        "speeds": {name: asdict(speed) for name, speed in plan.speeds.items()},
        "judged_on": plan.judged_on or None,
        "changes": [
            {
                "change": change.knob.name,
                "price": change.knob.price,
                "memory": asdict(change.memory),
                "speed": None if change.speed is None else asdict(change.speed),
                "gain": gain(plan, change),
                "reason": change.reason,
            }
            for change in plan.changes
        ],
        "assumptions": list(plan.assumptions),
        "warnings": list(plan.warnings),
    }


def gain(plan: QuickPlan, change: Changed) -> float | None:
    """Return how many times as fast a change is, on the routing that changes are judged on; None where nobody knows."""
    if change.speed is None or plan.judged_on not in plan.speeds:
        return None
    return plan.speeds[plan.judged_on].tpot_s / change.speed.tpot_s


def _plain_question(question: Question) -> dict[str, object]:
    return asdict(question) | {"figures": dict(question.figures), "policies": dict(question.policies)}


def _recorded(path: Path, memory: Memory, question: Question) -> Routing:
    trace = open_trace(path)
    model = model_of(question)
    trace.require_model(
        num_layers=memory.num_experts // model.num_experts,
        num_experts=model.num_experts,
        top_k=model.top_k,
        model=model.name,
    )
    fit_sequences = max(0, min(trace.num_sequences // 2, trace.num_sequences - question.batch))
    decoded = trace.sequence_start[1:] - trace.sequence_start[:-1] - trace.prompt_tokens
    if int(decoded[fit_sequences:].sum()) < question.batch * (_WARMUP_STEPS + _MEASURED_STEPS):
        raise InputError(
            path,
            f"decodes too few tokens for {_WARMUP_STEPS + _MEASURED_STEPS} steps of {question.batch} sequences (its first "
            f"{fit_sequences} sequences are for counting popularity); record more or longer answers, or leave --trace out",
        )
    hit_frac, num_tokens = recorded_hit_frac(trace, memory.resident_experts, batch=question.batch)
    return Routing(
        name="recorded",
        assumption=f"recorded: routing of {trace.metadata.model} as in {path.name}; over its first {num_tokens:,} tokens, "
        f"from an empty cache, LRU with this machine's slots hits {hit_frac:.1%}; contexts are the trace's own",
        path=path,
        fit_sequences=fit_sequences,
    )


def _simulated(
    question: Question,
    memory: Memory,
    routing: Routing,
    num_tokens: int,
    warnings: dict[str, None],
    rests_on: dict[str, None],
    *,
    all_resident: bool = False,
) -> Speed:
    """Run a short simulation, and note what it warns of and rests on."""
    warmup = min(_WARMUP_STEPS, num_tokens // 2)
    formats = {"experts": question.experts_format, "rest": question.rest_format, "kv_cache": question.kv_format}
    num_slots = memory.num_experts if all_resident else memory.resident_experts
    values: dict[str, object] = {
        "trace": str(routing.path),
        "model": question.model,
        "hardware": question.gpu,
        "hardware_set": hardware_set(question),
        "quantisation": {key: value for key, value in formats.items() if value is not None},
        "cache": {"experts": num_slots},
        "placement": "popular",
        "batch": question.batch,
        "max_tokens": num_tokens * question.batch,
        "warmup_steps": warmup,
        **question.policies,
    }
    if routing.fit_sequences > 0:
        values["fit"] = {"sequences": routing.fit_sequences}
    if question.pcie is not None:
        values["pcie"] = question.pcie
    summary = simulate(build_scenario(values, "moesim plan"), source="moesim plan").summary
    between, waits, listed = summary["itl_s"], summary["attribution_ns"], summary["assumptions"]
    assert isinstance(between, Mapping)
    if between["mean"] is None:
        raise InputError(routing.path, "decodes nothing in the steps that are measured; record longer answers")
    assert isinstance(waits, Mapping)
    assert isinstance(listed, list)
    makespan_ns, rate, hit_frac = summary["makespan_ns"], summary["throughput_tokens_per_s"], summary["hit_frac"]
    assert isinstance(makespan_ns, int)
    assert isinstance(rate, float)
    assert isinstance(hit_frac, float)
    stated = summary["warnings"]
    assert isinstance(stated, list)
    warnings.update(dict.fromkeys(text for text in stated if "host's memory" not in text))
    rests_on.update(dict.fromkeys(listed))
    waiting = sum(waits[cause] for cause in ("exposed_demand_fetch", "exposed_late_prefetch", "queued_behind_prefetch"))
    return Speed(
        tpot_s=float(between["mean"]),
        tokens_per_s=rate,
        hit_frac=hit_frac,
        waiting_frac=waiting / makespan_ns,
        resident_experts=num_slots,
    )


def _tell(done: Done | None, name: str, total: int) -> None:
    if done is not None:
        done("simulating", 1, total)
    del name
