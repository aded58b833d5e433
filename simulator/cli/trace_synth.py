"""`moesim trace synth`: synthetic routing like a recorded trace, like a preset, or of a shape of one's own."""

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from simulator.cli.options import WholeNumber
from traces.errors import TraceError
from traces.format import open_trace, write_trace
from traces.statistics.sample import front
from traces.synthesis.distances import profile
from traces.synthesis.fit import fit
from traces.synthesis.generic import generic_model
from traces.synthesis.make import Synthetic, synthesise
from traces.synthesis.parameters import Fitted, load_preset, preset_names

_FITTED_TOKENS = 1 << 18  # enough for every statistic that is fitted; a trace can be larger than memory
_GENERIC_TOKENS = 10_000


def synth(
    *,
    out: Path,
    like: Path | None = None,
    preset: str | None = None,
    layers: WholeNumber | None = None,
    experts: WholeNumber | None = None,
    top_k: WholeNumber | None = None,
    skew: float | None = None,
    stickiness: float | None = None,
    sequence_tokens: WholeNumber | None = None,
    tokens: WholeNumber | None = None,
    seed: WholeNumber = 1,
    json_output: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Make a synthetic trace like a recorded one, or from a preset, or of any shape; say how far it is from its model.

    - `moesim trace synth --like recorded.safetensors --tokens 100000 --out synthetic.safetensors`
    - `moesim trace synth --preset gpt-oss-20b --out synthetic.safetensors`
    - `moesim trace synth --layers 48 --experts 128 --top-k 8 --skew 0.6 --stickiness 0.5 --out synthetic.safetensors`

    Parameters
    ----------
    out
        The trace file to write; it must not exist.
    like
        Fit the generator to this trace.
    preset
        Use parameters that ship: gpt-oss-20b, deepseek-v2-lite, moesim-nano.
    layers
        MoE layers of a generic trace.
    experts
        Experts per layer of a generic trace.
    top_k
        Experts per token of a generic trace.
    skew
        Exponent of popularity by rank of a generic trace; 0 makes all experts alike. Default 0.5.
    stickiness
        Correlation of scores at adjacent tokens of a generic trace, 0 to 0.7. Default 0.5.
    sequence_tokens
        Tokens of each sequence of a generic trace. Default 512.
    tokens
        Tokens to draw; by default as many as the trace that was fitted, or 10,000 of a generic one.
    seed
        Same seed, same trace.
    json_output
        Write the distances as JSON.
    """
    shape = {"--layers": layers, "--experts": experts, "--top-k": top_k}
    tuning = {"--skew": skew, "--stickiness": stickiness, "--sequence-tokens": sequence_tokens}
    generic = any(value is not None for value in shape.values())
    if (like is not None) + (preset is not None) + generic != 1:
        raise TraceError(
            "moesim trace synth",
            f"give one of --like, --preset ({', '.join(preset_names())}), or --layers, --experts and --top-k",
        )
    if out.exists():
        raise TraceError(out, "exists already; a trace never changes once written: choose another name")
    if tokens is not None and tokens < 1:
        raise TraceError("--tokens", f"is {tokens}; it should be 1 or more")
    if seed < 0:
        raise TraceError("--seed", f"is {seed}; it should be 0 or more")
    if not generic and (given := [name for name, value in tuning.items() if value is not None]):
        raise TraceError(given[0], "shapes a generic trace; a fitted one has its own: leave it out")

    if like is not None:
        fitted = _fit(like)
    elif preset is not None:
        fitted = load_preset(preset)
    else:
        if missing := [name for name, value in shape.items() if value is None]:
            raise TraceError(missing[0], "is missing; a generic trace needs --layers, --experts and --top-k")
        assert layers is not None
        assert experts is not None
        assert top_k is not None
        fitted = Fitted(
            model=generic_model(
                num_layers=layers,
                num_experts=experts,
                top_k=top_k,
                skew=0.5 if skew is None else skew,
                stickiness=0.5 if stickiness is None else stickiness,
                sequence_tokens=512 if sequence_tokens is None else sequence_tokens,
            ),
            profile=None,
            model_name=f"generic-{layers}x{experts}-top-{top_k}",
            gate="unknown",
            origin="a generic generator; fitted to nothing",
        )
    num_tokens = tokens or (_GENERIC_TOKENS if generic else fitted.model.fitted_tokens)
    made = synthesise(fitted, num_tokens=num_tokens, seed=seed)
    write_trace(out, made.sequences, made.metadata)
    _report(out, made, num_tokens, seed, json_output=json_output)


def _fit(like: Path) -> Fitted:
    trace = open_trace(like)
    sequences = front(trace, _FITTED_TOKENS)
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status("fitting") as status:
            model = fit(sequences, trace.num_experts, report=lambda stage: status.update(f"fitting: {stage}"))
    else:
        model = fit(sequences, trace.num_experts)
    measured = len(sequences.expert_ids)
    metadata = trace.metadata
    return Fitted(
        model=model,
        profile=profile(sequences, trace.num_experts),
        model_name=metadata.model,
        gate=metadata.gate,
        origin=f"fitted to the first {measured} tokens of {like.name} (source: {metadata.source}, "
        f"licence: {metadata.licence})",
        banks=metadata.banks,
    )


def _report(out: Path, made: Synthetic, num_tokens: int, seed: int, *, json_output: bool) -> None:
    for line in made.missed:
        print(f"moesim: warning: misses the bar: {line}", file=sys.stderr)  # noqa: T201
    console = Console()
    if json_output:
        told = {"path": str(out), "tokens": num_tokens, "seed": seed, "distances": made.distances}
        console.print_json(json.dumps(told | {"missed_bars": made.missed}))
        return
    console.print(f"{out}: {num_tokens:,} tokens, seed {seed}")
    if not made.distances:
        hits = made.profile.hit_rate_E
        half = hits[max(0, len(hits) // 2 - 1)]
        overlap = made.profile.overlap[0]
        shared = "-" if overlap is None else f"{overlap:.2f}"
        console.print(f"adjacent tokens share {shared} experts; LRU with half of the experts hits {half:.1%}")
        return
    table = Table("distance from what it imitates", title_justify="left")
    table.add_column("found - wanted", justify="right")
    for name, value in made.distances.items():
        table.add_row(name, "-" if value is None else f"{value:+.2f}" if isinstance(value, float) else str(value))
    console.print(table)
    if not made.missed:
        console.print("within all bars: hit rates 3 points, adjacent overlap and unions 5 %")
