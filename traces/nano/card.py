"""Fill the tables of the model card from what training and recording wrote: `python -m traces.nano.card`.

Every figure of `README.md` stands between two markers, and is made here from `model/training.json`, from the files'
sizes and from the trace.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from traces.errors import TraceError
from traces.format import open_trace
from traces.nano import MODEL, TRACE

CARD = Path(__file__).parent / "README.md"
FIGURES = "training.json"
_BEGIN, _END = "<!-- figures: begin -->", "<!-- figures: end -->"

Figures = dict[str, Any]


def read_figures(model: Path = MODEL) -> Figures:
    """Return what training wrote beside a model. Raises TraceError if it is not there."""
    try:
        figures: Figures = json.loads((model / FIGURES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TraceError(model, f"holds no {FIGURES}; export the model with python -m traces.nano.train") from None
    return figures


def fill(card: str, tables: str) -> str:
    """Return a card with the text between its markers replaced."""
    before, _, rest = card.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{tables}\n{_END}{after}"


def tables(model: Path = MODEL, trace: Path = TRACE) -> str:
    """Return the card's figures as Markdown."""
    figures = read_figures(model)
    return "\n".join(
        [
            "### Model",
            "",
            *_table(("figure", "value"), _model_rows(figures, model)),
            "",
            "### Losses on held-out documents, nats per token",
            "",
            *_table(("text", "moesim-nano", "bigram", "unigram", "training tokens", "times seen"), _loss_rows(figures)),
            "",
            "### Load of the experts on held-out documents",
            "",
            f"Shares of a layer's routed tokens, as multiples of the even share 1/{figures['preset']['num_experts']}. "
            "*Moved* is the part of a source's routed tokens that would have to go to other experts to turn its load "
            "into the mean of all sources, averaged over sources: 0 if experts did not care what they read.",
            "",
            *_table(("layer", "least", "median", "most", "moved"), _load_rows(figures)),
            "",
            "### Trace",
            "",
            *_table(("figure", "value"), _trace_rows(trace)),
        ]
    )


def _model_rows(figures: Figures, model: Path) -> Iterator[tuple[str, str]]:
    preset = figures["preset"]
    weights = sorted(model.glob("*.safetensors"))
    yield "parameters", f"{figures['num_parameters']:,}"
    yield "layers, all MoE", str(preset["num_layers"])
    yield "experts per layer, top-k", f"{preset['num_experts']}, {preset['top_k']}"
    yield "hidden, expert hidden", f"{preset['hidden']}, {preset['expert_hidden']}"
    yield "vocabulary", str(preset["vocabulary"])
    yield "weights", f"{len(weights)} files, {sum(path.stat().st_size for path in weights) / 1e6:.1f} MB"
    yield "trained on", f"{figures['device']}, {figures['threads']} threads, torch {figures['torch']}"
    yield "trained from, to", f"{figures['started']}, {figures['ended']}"
    yield "training time, evaluations included", f"{figures['elapsed_s'] / 60:.0f} min"
    yield "interrupted and resumed", f"{figures['interruptions']} times"
    yield "steps", f"{figures['steps']:,}"
    yield "tokens seen", f"{figures['tokens_seen']:,}"


def _loss_rows(figures: Figures) -> Iterator[tuple[str, ...]]:
    share_frac, trained = figures["share_frac"], figures["train_tokens"]
    for name in (*share_frac, "all"):
        losses = [f"{figures[key][name]:.2f}" for key in ("held_out_loss", "bigram_loss", "unigram_loss")]
        tokens = sum(trained.values()) if name == "all" else trained[name]
        seen = figures["tokens_seen"] * share_frac.get(name, sum(share_frac.values())) / sum(share_frac.values())
        yield name, *losses, f"{tokens:,}", f"{seen / tokens:.1f}"


def _load_rows(figures: Figures) -> Iterator[tuple[str, ...]]:
    mean_LE = np.array(figures["load_frac"])
    by_source_SLE = np.array(list(figures["load_frac_by_source"].values()))
    moved_L = np.abs(by_source_SLE - mean_LE).sum(-1).mean(0) / 2
    relative_LE = mean_LE * mean_LE.shape[1]
    for layer, load in enumerate(relative_LE):
        yield (
            str(layer),
            f"{load.min():.2f}",
            f"{np.median(load):.2f}",
            f"{load.max():.2f}",
            f"{100 * moved_L[layer]:.0f} %",
        )


def _trace_rows(path: Path) -> Iterator[tuple[str, str]]:
    trace = open_trace(path)
    assert trace.sequence_category is not None
    prompt_tokens = int(trace.prompt_tokens.sum())
    yield "tokens", f"{trace.num_tokens:,}"
    yield "of them prefill", f"{prompt_tokens:,}"
    yield "of them decode", f"{trace.num_tokens - prompt_tokens:,}"
    lengths = np.diff(trace.sequence_start)
    counts = np.bincount(trace.sequence_category)
    yield "sequences", f"{trace.num_sequences}, of {lengths.min()} to {lengths.max()} tokens"
    yield (
        "categories",
        ", ".join(f"{name} {count}" for name, count in zip(trace.metadata.categories, counts, strict=True)),
    )
    yield "lookahead distances", str(trace.lookahead_distances)
    yield "file", f"{trace.num_bytes() / 1e6:.2f} MB"
    yield "recorded", trace.metadata.captured
    yield "recorded on", trace.metadata.extra["recorded_on"]
    yield "sampling", trace.metadata.extra["sampling"]


def _table(header: Sequence[str], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


if __name__ == "__main__":
    CARD.write_text(fill(CARD.read_text(encoding="utf-8"), tables()), encoding="utf-8")
