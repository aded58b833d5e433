"""What capture records of each architecture is what its routers pick, worked out by hand."""

import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.capture.families import EXPERTS, FAMILIES, VOCABULARY, Family, build
from traces.capture import ROUTER_READERS, record

NEW_TOKENS = 4
LOOKAHEAD = 2
PROMPT = torch.randint(3, VOCABULARY, (2, 6), generator=torch.Generator().manual_seed(2))
MASK = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])  # left padding, as generate asks for


class States:
    """The state that enters each router of a decoder, collected by hooks of this test alone."""

    def __init__(self, model: nn.Module) -> None:
        names = [name for name, module in model.named_modules() if type(module).__name__.endswith("Experts")]
        parents = [name.rpartition(".")[0] for name in names if "encoder." not in name.replace("decoder.", "")]
        self.blocks = [model.get_submodule(name) for name in parents]
        self.routers: list[nn.Module] = [
            block.get_submodule("gate" if hasattr(block, "gate") else "router") for block in self.blocks
        ]
        self.seen: list[list[Tensor]] = [[] for _ in self.routers]
        for seen, router in zip(self.seen, self.routers, strict=True):
            router.register_forward_pre_hook(lambda _module, args, seen=seen: seen.append(args[0].detach().clone()))

    def of_rows(self, layer: int, masks: list[Tensor]) -> Tensor:
        """Return the states of a layer, [T, H], row after row, without padding; masks [B, S] have one per pass."""
        passes = [state.reshape(*mask.shape, -1) for state, mask in zip(self.seen[layer], masks, strict=True)]
        rows = [
            torch.cat([state[row][mask[row].bool()] for state, mask in zip(passes, masks, strict=True)])
            for row in range(len(masks[0]))
        ]
        return torch.cat(rows)


def by_hand(family: Family, states: States, layer: int, state: Tensor) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return ids [T, K] by descending weight, and the weights, as the family's router makes them of a state."""
    with torch.no_grad():
        choice, scores = family.hand(states.blocks[layer], states.routers[layer], state)
    all_ids, all_weights = [], []
    for for_choice, weights in zip(choice.tolist(), scores.tolist(), strict=True):
        picked = sorted(range(EXPERTS), key=lambda expert: -for_choice[expert])[: family.top_k]
        picked.sort(key=lambda expert: -weights[expert])
        total = sum(weights[expert] for expert in picked) if family.gate.endswith("top_k") else 1.0
        all_ids.append(picked)
        all_weights.append([weights[expert] / total * family.scale for expert in picked])
    return np.array(all_ids), np.array(all_weights)


@pytest.mark.parametrize("name", FAMILIES)
def test_ids_weights_and_lookahead_are_those_of_the_routers(name: str) -> None:
    """Ids, weights, and lookahead ids equal the hand computation; the hooks change no token of the output."""
    family = FAMILIES[name]
    model = build(name)
    generate = {"attention_mask": MASK, "max_new_tokens": NEW_TOKENS, "do_sample": False, "eos_token_id": None}

    with record(model, lookahead=LOOKAHEAD, token_ids=True, eos_token_ids=()) as recorder:
        recorded_output = model.generate(PROMPT, **generate)
    recorded = recorder.sequences()
    states = States(model)
    output = model.generate(PROMPT, **generate)

    assert output.tolist() == recorded_output.tolist()
    if family.encoder_decoder:
        prompt_mask, prompts = torch.ones(2, 1), [1, 1]
    else:
        prompt_mask, prompts = MASK, [4, 6]
    masks = [prompt_mask, *[torch.ones(2, 1)] * (NEW_TOKENS - 1)]
    assert recorded.prompt_tokens.tolist() == prompts
    assert np.diff(recorded.sequence_start).tolist() == [prompt + NEW_TOKENS - 1 for prompt in prompts]
    assert recorded.expert_ids.shape[1:] == (family.layers, family.top_k)
    assert recorder.num_experts == EXPERTS
    assert recorder.metadata.gate == family.gate
    assert recorder.metadata.extra.get("gate_scale", "1.0") == str(family.scale)
    assert ("gate_selection" in recorder.metadata.extra) == family.biased
    fed = [row[-(prompt + NEW_TOKENS) : -1] for row, prompt in zip(output.tolist(), prompts, strict=True)]
    assert recorded.token_ids is not None
    assert recorded.token_ids.tolist() == fed[0] + fed[1]

    assert recorded.gate_weights is not None
    assert recorded.lookahead_ids is not None
    for layer in range(family.layers):
        state = states.of_rows(layer, masks)
        ids, weights = by_hand(family, states, layer, state)
        np.testing.assert_array_equal(recorded.expert_ids[:, layer], ids)
        np.testing.assert_allclose(recorded.gate_weights[:, layer], weights, rtol=2e-3, atol=1e-4)
        for distance in range(1, LOOKAHEAD + 1):
            foreseen = ids
            if layer + distance < family.layers:
                foreseen, _ = by_hand(family, states, layer + distance, state)
            np.testing.assert_array_equal(recorded.lookahead_ids[:, layer, distance - 1], foreseen)


def test_the_documentation_names_the_families_that_are_tested() -> None:
    document = (Path(__file__).parents[2] / "docs" / "capture.md").read_text(encoding="utf-8")
    named = document.partition("<!-- families -->")[2].partition("<!-- /families -->")[0]
    assert named.strip().rstrip(".").split(", ") == sorted(FAMILIES)


def test_every_experts_class_of_transformers_is_known() -> None:
    """A release that calls experts in a new way shows here first."""
    experts = re.compile(r"^class (\w+Experts)\(.*?def forward\(\s*self,\s*([^)]*?),?\s*\)", re.DOTALL | re.MULTILINE)
    unknown = set()
    for source in (Path(transformers.__file__).parent / "models").glob("*/modeling_*.py"):
        for name, parameters in experts.findall(source.read_text(encoding="utf-8")):
            given = tuple(re.findall(r"(\w+)(?:\s*:[^,=]*)?(?:\s*=[^,]*)?(?:,|$)", parameters.strip()))
            if given not in (
                ("hidden_states", "top_k_index", "top_k_weights"),
                ("hidden_states", "router_indices", "routing_weights"),
            ):
                unknown.add(name)
    assert unknown == {*ROUTER_READERS, "InklingSharedExperts", "JetMoeParallelExperts"}
