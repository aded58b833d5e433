"""Record the shipped trace from moesim-nano: `python -m traces.nano.record --data DIR`.

Prompts are passages of the corpus's held-out documents; what follows them is sampled from the model. Legend: B
sequences of a batch.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from cyclopts import App
from rich.console import Console

from traces.capture import Recorder
from traces.capture import record as record_routing
from traces.errors import TraceError
from traces.format import open_trace
from traces.nano import MODEL, TRACE
from traces.nano.card import read_figures
from traces.nano.machine import device_name
from traces.nano.tokens import corpus_sources, read_documents

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3MoeForCausalLM

_BATCH = 8  # sequences, at most
_PROMPT_TOKENS = (32, 128)  # least and most
_DECODE_TOKENS = (48, 256)
_USUAL_TOKENS = 232  # of a sequence: the means of prompt and decode

app = App(name="traces.nano.record", help="Record what moesim-nano routes on held-out text.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Prompts that are run together, padded on the left [B, longest], and how long each sequence may become."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    num_tokens: tuple[int, ...]  # of prompt and decode

    @property
    def most_decode_tokens(self) -> int:
        """Return how many steps follow the prefill until every sequence is as long as it may become."""
        prompt_tokens = self.attention_mask.sum(1).tolist()
        return int(max(total - prompt for total, prompt in zip(self.num_tokens, prompt_tokens, strict=True)))


@app.default
def record(
    *,
    data: Path,
    model: Path = MODEL,
    out: Path = TRACE,
    tokens: int = 50_400,
    lookahead: int = 3,
    threads: int = 2,
    seed: int = 0,
) -> None:
    """Run the model over held-out prompts, and write a trace of what it routed.

    Parameters
    ----------
    data
        Folder of text, as traces.nano.corpus writes it.
    model
        Folder of the trained model.
    out
        The trace to write; it must not exist.
    tokens
        Least number of tokens to record; every source of text gives the same part.
    lookahead
        Lookahead distances to record.
    threads
        CPU threads of torch.
    seed
        Of the passages picked and of sampling.
    """
    console = Console(stderr=True)
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    network, tokenizer = load(model)
    sampling = network.generation_config
    figures = read_figures(model)
    sources = [name for name, _ in corpus_sources(data)]
    generator = np.random.default_rng(seed)
    licences = ", ".join(sorted({row["licence"] for row in figures["corpus"]}))
    recorder = record_routing(
        network,
        out,
        lookahead=lookahead,
        categories=sources,
        model_name="moesim-nano",
        source="moesim-nano, continuing held-out passages of its corpus by sampling",
        licence=f"Apache-2.0; it holds no text. Licences of the prompts' texts: {licences}",
        extra={
            "recorded_on": device_name(network.device),
            "sampling": f"temperature {sampling.temperature}, top-p {sampling.top_p}, seed {seed}",
            "trained": (
                f"{figures['tokens_seen']} tokens in {figures['steps']} steps on {figures['device']}, "
                f"{figures['started']} to {figures['ended']}"
            ),
        },
    )
    with console.status("recording") as status, recorder:
        for source in sources:
            texts = list(read_documents(data, source, held_out=True))
            goal = recorder.num_tokens + -(-tokens // len(sources))
            while (left := goal - recorder.num_tokens) > 0:
                batch = draw_batch(texts, tokenizer, generator, sequences=min(_BATCH, 1 + left // _USUAL_TOKENS))
                run_batch(network, recorder, batch, category=source)
                status.update(f"{source}: {recorder.num_tokens} of {tokens} tokens")
            console.print(f"{source}: {recorder.num_tokens} tokens so far")
    trace = open_trace(out)
    trace.check()
    console.print(
        f"{out}: {trace.num_sequences} sequences, {trace.num_tokens} tokens, {trace.num_bytes() / 1e6:.2f} MB"
    )


def load(folder: Path) -> tuple["Qwen3MoeForCausalLM", "PreTrainedTokenizerFast"]:
    """Load a trained model, its bfloat16 weights widened to float32, and its tokenizer."""
    from transformers import PreTrainedTokenizerFast, Qwen3MoeForCausalLM

    network: Qwen3MoeForCausalLM = Qwen3MoeForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder, padding_side="left")
    torch.nn.Module.eval(network)
    return network, tokenizer


def draw_batch(
    texts: list[str], tokenizer: "PreTrainedTokenizerFast", generator: np.random.Generator, *, sequences: int
) -> Batch:
    """Pick passages that begin with a line of a text, each with its number of prompt tokens and of decode tokens."""
    least, most = _PROMPT_TOKENS
    prompts: list[list[int]] = []
    while len(prompts) < sequences:
        text = texts[int(generator.integers(len(texts)))]
        begin = text.find("\n", int(generator.integers(len(text)))) + 1
        prompt = tokenizer.encode(text[begin : begin + 20 * most])[: int(generator.integers(least, most + 1))]
        if len(prompt) >= least:
            prompts.append(prompt)
    longest = max(map(len, prompts))
    padding = [longest - len(prompt) for prompt in prompts]
    return Batch(
        input_ids=torch.tensor([[0] * pad + prompt for pad, prompt in zip(padding, prompts, strict=True)]),
        attention_mask=torch.tensor([[0] * pad + [1] * (longest - pad) for pad in padding]),
        num_tokens=tuple(
            len(prompt) + int(generator.integers(_DECODE_TOKENS[0], _DECODE_TOKENS[1] + 1)) for prompt in prompts
        ),
    )


def run_batch(network: "Qwen3MoeForCausalLM", recorder: Recorder, batch: Batch, *, category: str) -> None:
    """Prefill and decode a batch. The token sampled last is not run, so one more is asked for than is recorded."""
    recorder.new_sequences(categories=[category] * len(batch.num_tokens))
    network.generate(
        input_ids=batch.input_ids.to(network.device),
        attention_mask=batch.attention_mask.to(network.device),
        max_new_tokens=batch.most_decode_tokens + 1,
    )
    recorder.end_sequences(batch.num_tokens)


if __name__ == "__main__":
    try:
        app()
    except TraceError as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False)
        sys.exit(2)
