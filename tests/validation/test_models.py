"""Models for replays: random ones are reproducible and never held twice, checkpoints are those on disk."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
import transformers
from torch import Tensor

from hardware_profiles.errors import InputError
from tests.capture.families import FAMILIES, VOCABULARY, build
from tests.validation.plain_host import PlainHost, peak_bytes
from tests.validation.test_offload import TAKEN_OVER
from validation.models.checkpoint import checkpoint_model
from validation.models.random import random_model
from validation.runtime.offload import OffloadedModel

NANO = Path(__file__).parents[2] / "traces" / "nano" / "model"
PROMPT = torch.randint(3, VOCABULARY, (2, 7), generator=torch.Generator().manual_seed(5))


def save_config(family: str, folder: Path, **changes: object) -> Path:
    """Write the config.json of a tiny model."""
    build(family).config.save_pretrained(folder)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return file


def logits_of(taken: OffloadedModel) -> Tensor:
    """Return the logits of a prompt."""
    taken.visit = taken.visit_from_host
    with torch.no_grad():
        logits: Tensor = taken.model(input_ids=PROMPT).logits
    return logits


def weights_of(taken: OffloadedModel) -> dict[str, Tensor]:
    """Return all weights and buffers, the experts' by key."""
    keys = range(taken.host.num_banks * taken.num_experts)
    rest = dict(taken.model.named_parameters()) | dict(taken.model.named_buffers())
    return rest | {f"expert {key}": taken.host.flat(key) for key in keys}


@pytest.mark.parametrize("family", TAKEN_OVER)
def test_a_random_model_computes_something(family: str, tmp_path: Path) -> None:
    """Nothing is left unset or on the meta device; logits are finite and vary over tokens and words."""
    taken = random_model(save_config(family, tmp_path), PlainHost(), torch.float32, seed=0)
    assert not any(one.is_meta or one.isnan().any() for one in weights_of(taken).values())
    logits = logits_of(taken)
    assert logits.isfinite().all()
    assert float(logits.std(dim=-1).min()) > 1e-4
    assert float(logits.std(dim=1).max()) > 1e-4
    assert float(logits.abs().max()) < 100


def test_random_weights_follow_the_seed(tmp_path: Path) -> None:
    """The same seed gives the same bits whatever was drawn before; another one gives others."""
    file = save_config("deepseek_v3", tmp_path)
    first = weights_of(random_model(file, PlainHost(), torch.float32, seed=1))
    torch.rand(3)
    state = torch.random.get_rng_state()
    again = weights_of(random_model(file, PlainHost(), torch.float32, seed=1))
    assert torch.equal(torch.random.get_rng_state(), state), "the caller's random numbers have moved"
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = weights_of(random_model(file, PlainHost(), torch.float32, seed=2))
    for name in ("expert 0", "expert 11", "model.layers.1.mlp.gate.weight", "lm_head.weight"):
        assert not torch.equal(first[name], other[name])


def test_random_experts_are_spread_as_the_config_says(tmp_path: Path) -> None:
    """Mean 0 and the config's standard deviation; no two experts are alike, nor opposite."""
    taken = random_model(save_config("mixtral", tmp_path, initializer_range=0.3), PlainHost(), torch.float64, seed=0)
    experts = torch.stack([taken.host.flat(key) for key in range(3 * taken.num_experts)])
    assert float(experts.std()) == pytest.approx(0.3, rel=0.02)
    assert float(experts.mean()) == pytest.approx(0, abs=0.003)
    correlations = torch.corrcoef(experts) - torch.eye(len(experts))
    assert float(correlations.abs().max()) < 0.5


def test_a_random_model_has_the_rotary_tables_of_a_built_one(tmp_path: Path) -> None:
    """They are buffers that no file holds; yarn in gpt-oss."""
    taken = random_model(save_config("gpt_oss", tmp_path), PlainHost(), torch.float32, seed=0)
    expected = dict(build("gpt_oss").named_buffers())
    found = dict(taken.model.named_buffers())
    assert found.keys() == expected.keys()
    assert found
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_tied_embeddings_stay_tied(tmp_path: Path) -> None:
    """There is one tensor for both."""
    taken = random_model(save_config("qwen3_moe", tmp_path, tie_word_embeddings=True), PlainHost(), torch.float32, 0)
    assert taken.model.lm_head.weight is taken.model.model.embed_tokens.weight


def test_a_random_model_is_never_held_twice(tmp_path: Path) -> None:
    """At no moment is there more than the model, 75 MB of it experts, and the random numbers it is cut from."""
    changes = {"hidden_size": 256, "intermediate_size": 1024, "num_attention_heads": 8, "head_dim": 32}
    file = save_config("mixtral", tmp_path, **changes)
    made: list[OffloadedModel] = []
    peak = peak_bytes(lambda: made.append(random_model(file, PlainHost(), torch.float32, seed=0)))
    experts_bytes = made[0].host.num_bytes()
    rest_bytes = sum(one.nbytes for one in [*made[0].model.parameters(), *made[0].model.buffers()])
    assert experts_bytes == 3 * 8 * 3 * 256 * 1024 * 4
    assert experts_bytes + rest_bytes < peak < experts_bytes + rest_bytes + 4 * (1 << 22) + 1_000_000


def test_a_folder_and_other_formats(tmp_path: Path) -> None:
    """A folder stands for its config.json; weights and logits are in the format asked for."""
    save_config("qwen3_moe", tmp_path)
    taken = random_model(tmp_path, PlainHost(), torch.bfloat16, seed=0)
    assert taken.dtype == taken.host.flat(0).dtype == taken.model.lm_head.weight.dtype == torch.bfloat16
    assert logits_of(taken).dtype == torch.bfloat16


def test_what_is_no_config_is_refused(tmp_path: Path) -> None:
    """A path that is not there, a file that is not one, a dense model."""
    with pytest.raises(InputError, match=r"neither a config\.json nor a folder"):
        random_model(tmp_path / "none.json", PlainHost(), torch.float32, seed=0)
    file = tmp_path / "config.json"
    file.write_text("{")
    with pytest.raises(InputError, match="transformers builds no model from it"):
        random_model(file, PlainHost(), torch.float32, seed=0)
    file.write_text('{"model_type": "no_such_family"}')
    with pytest.raises(InputError, match="transformers builds no model from it"):
        random_model(file, PlainHost(), torch.float32, seed=0)
    file.write_text(json.dumps({"model_type": "llama", "hidden_size": 32, "num_attention_heads": 4, "vocab_size": 9}))
    with pytest.raises(InputError, match="no mixture-of-experts layers"):
        random_model(file, PlainHost(), torch.float32, seed=0)


def test_a_checkpoint_equals_what_transformers_loads() -> None:
    """The model that ships: the logits of two rows, in float32."""
    ids = torch.randint(4096, (2, 20), generator=torch.Generator().manual_seed(0))
    whole = transformers.AutoModelForCausalLM.from_pretrained(NANO, dtype=torch.float32).eval()
    taken = checkpoint_model(str(NANO), PlainHost(), torch.float32)
    taken.visit = taken.visit_from_host
    assert (taken.num_layers, taken.num_experts, taken.top_k) == (8, 32, 2)
    assert taken.layout.num_bytes == 3 * 128 * 40 * 4
    assert torch.equal(taken.host.tensors(3 * 32 + 5)["down_proj"], whole.model.layers[3].mlp.experts.down_proj[5])
    with torch.no_grad():
        found, expected = taken.model(input_ids=ids).logits, whole(input_ids=ids).logits
    assert float(expected.std()) > 0.5
    assert float((found - expected).abs().max()) < 1e-4
    assert torch.equal(found.argmax(-1), expected.argmax(-1))


def test_a_checkpoint_that_cannot_be_taken_is_refused(tmp_path: Path) -> None:
    """No such folder; a family whose experts do not go through the interface."""
    with pytest.raises(InputError, match="no such directory"):
        checkpoint_model(str(tmp_path / "none"), PlainHost(), torch.float32)
    build("longcat_flash").save_pretrained(tmp_path)
    with pytest.raises(InputError, match="LongcatFlashExperts"):
        checkpoint_model(str(tmp_path), PlainHost(), torch.float32)
    assert "longcat_flash" in FAMILIES
