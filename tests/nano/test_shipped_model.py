"""The shipped weights: they load, they model text, and capture sees what their routers pick."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from traces.capture import record as record_routing  # noqa: E402
from traces.capture.prompts import read_prompts  # noqa: E402
from traces.capture.run import CaptureOptions, capture_prompts  # noqa: E402
from traces.format import open_trace  # noqa: E402
from traces.nano import MODEL, PROMPTS, TRACE  # noqa: E402
from traces.nano.card import read_figures  # noqa: E402
from traces.nano.evaluate import next_token_loss  # noqa: E402
from traces.nano.record import load  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch and transformers, about themselves

TEXT = """The documentation of this function says that it returns the number of bytes read from the file. If the file
is not open, an error is raised. To change the settings of the network, open the settings and select the network that
you want to use. This is a small part of the system, and the kernel does not support it on all devices.
"""


def test_the_model_is_the_one_that_was_recorded() -> None:
    """Layers, experts and top-k of the configuration are those of the trace."""
    network, tokenizer = load(MODEL)
    config = network.config
    open_trace(TRACE).require_model(
        num_layers=config.num_hidden_layers,
        num_experts=config.num_experts,
        top_k=config.num_experts_per_tok,
        model=str(MODEL),
    )
    assert len(tokenizer) == config.vocab_size
    assert sum(parameter.numel() for parameter in network.parameters()) == read_figures()["num_parameters"]


def test_the_model_predicts_text_that_it_has_not_seen() -> None:
    """On a few sentences of its kind it is at least one nat per token better than a unigram on its own corpus."""
    network, tokenizer = load(MODEL)
    tokens = torch.tensor([tokenizer.encode(TEXT)])
    with torch.no_grad():
        loss = next_token_loss(network(input_ids=tokens).logits[:, :-1], tokens[:, 1:])
    assert loss.item() < read_figures()["unigram_loss"]["all"] - 1.0


def test_capture_records_what_the_routers_pick() -> None:
    """Recorded ids and weights are the top-k of each layer's own router logits."""
    network, tokenizer = load(MODEL)
    tokens = torch.tensor([tokenizer.encode(TEXT)])
    with torch.no_grad():
        with record_routing(network, lookahead=1) as recorder:
            network(input_ids=tokens)
        output = network(input_ids=tokens, output_router_logits=True)
    sequences = recorder.sequences()
    picked = [logits.topk(network.config.num_experts_per_tok, dim=-1) for logits in output.router_logits]
    wanted_TLK = torch.stack([top.indices for top in picked], dim=1).numpy()
    weights_TLK = torch.stack([top.values.softmax(-1) for top in picked], dim=1).numpy()
    assert np.array_equal(sequences.expert_ids, wanted_TLK)
    assert sequences.gate_weights is not None
    assert np.abs(sequences.gate_weights.astype(np.float32) - weights_TLK).max() < 1e-3


def test_the_shipped_prompts_can_be_captured(tmp_path: Path) -> None:
    """What the model card suggests as a first capture works, and gives the categories of the shipped trace."""
    out = tmp_path / "trace.safetensors"
    capture_prompts(str(MODEL), read_prompts(PROMPTS), out, CaptureOptions(max_new_tokens=4, batch=9, lookahead=3))
    mine, shipped = open_trace(out), open_trace(TRACE)
    assert mine.num_sequences == len(shipped.metadata.categories)
    assert mine.metadata.categories == tuple(sorted(shipped.metadata.categories))
    assert mine.metadata.gate == shipped.metadata.gate
