"""The models that ship hold together and agree with the checked figures."""

import csv
from pathlib import Path

import pytest

from simulator.model.footprint import expert_bytes, params_per_expert
from simulator.model.load import load_model, model_names
from simulator.model.quantisation import QUANTISATIONS
from simulator.model.spec import ModelSpec, moe_layers

SPECS = {load_model(name).released_as: load_model(name) for name in model_names()}


@pytest.mark.parametrize("name", model_names())
def test_a_file_is_named_as_its_model(name: str) -> None:
    spec = load_model(name)
    assert spec.name == name == name.lower()
    assert spec.released_as
    assert spec.source.endswith(".")


def test_what_comes_from_memory_is_said_to() -> None:
    """The figures without a source that the spec names, by model."""
    assert {spec.name: [entry.partition(":")[0] for entry in spec.unverified] for spec in SPECS.values()}[
        "olmoe-1b-7b"
    ] == ["expert_intermediate_size"]
    assert not load_model("mixtral-8x7b").unverified
    assert load_model("nllb-moe-54b").unverified
    assert load_model("switch-base-8").unverified


def _figures(spec: ModelSpec) -> dict[str, int | None]:
    """Return a spec under the headings of the table of checked figures."""
    return {
        "hidden_size": spec.hidden_size,
        "num_layers": spec.num_layers,
        "num_moe_layers": len(moe_layers(spec)),
        "first_k_dense": spec.first_dense_layers,
        "num_experts": spec.num_experts,
        "top_k": spec.top_k,
        "n_shared_experts": spec.num_shared_experts,
        "moe_intermediate_size": spec.expert_intermediate_size,
        "shared_expert_intermediate_size": spec.shared_expert_intermediate_size,
        "dense_intermediate_size": spec.dense_intermediate_size,
        "num_heads": spec.num_heads,
        "num_kv_heads": spec.num_kv_heads,
        "head_dim": spec.head_dim,
        "kv_lora_rank": spec.kv_lora_rank,
        "q_lora_rank": spec.q_lora_rank,
        "qk_rope_head_dim": spec.qk_rope_head_dim,
        "vocab_size": spec.vocab_size,
        "n_group": spec.num_expert_groups,
        "topk_group": spec.top_k_groups,
        "params_per_expert": params_per_expert(spec),
        "bytes_per_expert_bf16": expert_bytes(spec, QUANTISATIONS["bf16"]),
    }


def test_every_checked_figure_is_in_the_library(shared_data: Path) -> None:
    """reference/model_shapes.csv, row by row: each figure that it gives, but for rows it calls unverified."""
    with (shared_data / "reference" / "model_shapes.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["verified"] != "no"]
    assert sorted(row["model"] for row in rows) == sorted(SPECS)
    num_checked = 0
    for row in rows:
        spec = SPECS[row["model"]]
        for heading, figure in _figures(spec).items():
            if row[heading]:
                assert int(row[heading]) == figure, f"{spec.name}: {heading}"
                num_checked += 1
        if row["verified"] == "partly":
            assert spec.unverified, f"{spec.name} is verified in part but names no field"
    assert num_checked > 400
