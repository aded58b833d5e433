"""The miss-ratio curves of a trace: LRU at every size, Belady and other policies at chosen ones, as plain facts.

A cache of N experts with slots for each layer gives each bank N / banks of them, the first N mod banks one more. The best
split gives the banks, one slot at least, what makes LRU miss least, with the whole trace known: no static split does better.

Limits: those of `simulator.mrc.accesses`, `lru`, `belady` and `replay`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardware_profiles.errors import InputError
from simulator.cache import split_slots
from simulator.lay_out import smallest_cache
from simulator.mrc.accesses import Accesses, bank_accesses, global_accesses
from simulator.mrc.belady import Belady
from simulator.mrc.knees import knees
from simulator.mrc.lru import lru_hits
from simulator.mrc.replay import replay_hits
from simulator.mrc.sizes import parse_sizes
from simulator.scenario import PolicyChoice
from simulator.slots.least_cost import least_cost
from traces.format import Trace

Work = Callable[[str, int, int], None]
"""Called with (what is being done, units done since the last call, units of it in all)."""

LRU, BEST_SPLIT, BELADY = "lru", "lru, best split", "belady"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked for. `scope` is `per_layer`, `global` or `both`; with `layer`, of its bank alone, as `sizes` are."""

    trace: Trace
    sequences: range
    batch: int
    scope: str
    layer: int | None
    policies: Sequence[str]
    sizes: str | None
    bytes_each: int | None
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Hits by size, in experts, under a policy."""

    policy: str
    sizes: Sequence[int]
    hits: Sequence[int]
    splits: Sequence[Sequence[int]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BankCurve:
    """LRU hits of one bank by its slots, from 0 to all of its experts."""

    bank: int
    layers: Sequence[int]
    accesses: int
    used_experts: int
    hits: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeCurves:
    """The curves of one scope. `num_experts` is how many compete; `first_uses` miss in a cache of any size."""

    scope: str
    num_experts: int
    accesses: int
    events: int
    first_uses: int
    curves: Sequence[Curve]
    banks: Sequence[BankCurve]
    knees: Sequence[int]


def measure(question: Question, work: Work | None = None) -> list[ScopeCurves]:
    """Compute all curves that are asked for. Raises InputError and TraceError."""
    found = []
    if question.scope in ("per_layer", "both"):
        found.append(_per_layer(question, work))
    if question.scope in ("global", "both"):
        found.append(_global(question, work))
    return found


def _per_layer(question: Question, work: Work | None) -> ScopeCurves:
    trace = question.trace
    chosen = range(trace.num_banks) if question.layer is None else [trace.banks[question.layer]]
    all_pools = bank_accesses(trace, question.sequences, batch=question.batch)
    pools = [all_pools[bank] for bank in chosen]
    smallest = (
        1
        if question.layer is not None
        else smallest_cache(num_banks=trace.num_banks, top_k=trace.top_k, scope="per_layer")
    )
    num_experts = trace.num_experts * len(pools)
    sizes = parse_sizes(question.sizes, num_experts=num_experts, smallest=smallest, bytes_each=question.bytes_each)
    events = sum(pool.num_events for pool in pools)
    lru_BE = np.array([lru_hits(pool, _of("LRU, all sizes, per layer", work, events)) for pool in pools])
    slots_NB = np.array([split_slots(size, len(pools)) for size in range(len(pools), num_experts + 1)])
    hits = lru_BE[np.arange(len(pools)), slots_NB].sum(axis=1)
    curves = [Curve(policy=LRU, sizes=range(len(pools), num_experts + 1), hits=hits.tolist())]
    if len(pools) > 1:
        curves.append(_best_split(lru_BE, sizes, pools))
    for policy in question.policies:
        if policy == BELADY:
            splits = [split_slots(size, len(pools)) for size in sizes]
            curves.append(Curve(policy=policy, sizes=sizes, hits=_belady(pools, splits, "per layer", work)))
        else:
            layers = [layer for layer, bank in enumerate(trace.banks) if bank in chosen]
            scale = trace.num_banks // len(pools)
            of_layers = [_replayed(question, policy, size * scale, "per_layer", work) for size in sizes]
            curves.append(
                Curve(policy=policy, sizes=sizes, hits=[sum(hits[at] for at in layers) for hits in of_layers])
            )
    return ScopeCurves(
        scope="per_layer",
        num_experts=num_experts,
        accesses=sum(len(pool.keys) for pool in pools),
        events=events,
        first_uses=sum(_used(pool) for pool in pools),
        curves=curves,
        banks=[
            BankCurve(
                bank=bank,
                layers=[layer for layer, of in enumerate(trace.banks) if of == bank],
                accesses=len(pool.keys),
                used_experts=_used(pool),
                hits=hits_E.tolist(),
            )
            for bank, pool, hits_E in zip(chosen, pools, lru_BE, strict=True)
        ],
        knees=knees(curves[0].sizes, curves[0].hits),
    )


def _global(question: Question, work: Work | None) -> ScopeCurves:
    trace = question.trace
    if question.layer is not None:
        raise InputError(
            "--layer", "names one bank, and in a global cache all compete; leave it out, or --scope per_layer"
        )
    pool = global_accesses(trace, question.sequences, batch=question.batch)
    smallest = smallest_cache(num_banks=trace.num_banks, top_k=trace.top_k, scope="global")
    bounded = parse_sizes(question.sizes, num_experts=pool.num_keys, smallest=smallest, bytes_each=question.bytes_each)
    lru = lru_hits(pool, _of("LRU, all sizes, global", work, pool.num_events))
    all_sizes = range(smallest, pool.num_keys + 1)
    curves = [Curve(policy=LRU, sizes=all_sizes, hits=lru[smallest:].tolist())]
    for policy in question.policies:
        hits = (
            _belady([pool], [[size] for size in bounded], "global", work)
            if policy == BELADY
            else [sum(_replayed(question, policy, size, "global", work)) for size in bounded]
        )
        curves.append(Curve(policy=policy, sizes=bounded, hits=hits))
    return ScopeCurves(
        scope="global",
        num_experts=pool.num_keys,
        accesses=len(pool.keys),
        events=pool.num_events,
        first_uses=_used(pool),
        curves=curves,
        banks=[],
        knees=knees(curves[0].sizes, curves[0].hits),
    )


def _best_split(lru_BE: NDArray[np.int64], sizes: Sequence[int], pools: Sequence[Accesses]) -> Curve:
    accesses_B = np.array([len(pool.keys) for pool in pools])
    misses_BE = accesses_B[:, None] - lru_BE
    banks = np.arange(len(pools))
    splits = [least_cost(misses_BE, size, at_least=1) for size in sizes]
    return Curve(
        policy=BEST_SPLIT, sizes=sizes, hits=[int(lru_BE[banks, list(split)].sum()) for split in splits], splits=splits
    )


def _belady(pools: Sequence[Accesses], splits: Sequence[Sequence[int]], scope: str, work: Work | None) -> list[int]:
    """Count Belady's hits for each split of slots among the pools."""
    report = _of(f"Belady, {scope}", work, len(pools))
    hits = [0] * len(splits)
    for index, pool in enumerate(pools):
        known: dict[int, int] = {}
        optimum = Belady(pool)
        for at, split in enumerate(splits):
            slots = split[index]
            if slots not in known:
                known[slots] = optimum.hits(slots)
            hits[at] += known[slots]
        report(1)
    return hits


def _replayed(question: Question, policy: str, num_slots: int, scope: str, work: Work | None) -> list[int]:
    trace, sequences = question.trace, question.sequences
    num_tokens = int((trace.sequence_start[1:] - trace.sequence_start[:-1])[list(sequences)].sum())
    return replay_hits(
        trace,
        sequences,
        eviction=PolicyChoice(name=policy),
        num_slots=num_slots,
        scope=scope,
        batch=question.batch,
        seed=question.seed,
        progress=_of(f"{policy}, {num_slots} experts", work, -(-num_tokens // question.batch)),
    )


def _of(what: str, work: Work | None, total: int) -> Callable[[int], None]:
    return lambda done: None if work is None else work(what, done, total)


def _used(pool: Accesses) -> int:
    return len(np.unique(pool.keys))


def plain(curves: ScopeCurves) -> Mapping[str, object]:
    """Return the facts as JSON has them."""
    return {
        "scope": curves.scope,
        "num_experts": curves.num_experts,
        "accesses": curves.accesses,
        "events": curves.events,
        "first_uses": curves.first_uses,
        "knees_experts": list(curves.knees),
        "curves": [
            {"policy": curve.policy, "size_experts": list(curve.sizes), "hits": list(curve.hits)}
            | ({"slots_of_banks": [list(split) for split in curve.splits]} if curve.splits else {})
            for curve in curves.curves
        ],
        "lru_of_banks": [
            {
                "bank": bank.bank,
                "layers": list(bank.layers),
                "accesses": bank.accesses,
                "used_experts": bank.used_experts,
                "hits_by_slots": list(bank.hits),
            }
            for bank in curves.banks
        ],
    }
