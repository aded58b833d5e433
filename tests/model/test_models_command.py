"""`moesim models` shows what ships and what a model weighs."""

import json
from pathlib import Path

import pytest

from hardware_profiles.errors import InputError
from simulator.cli import app
from simulator.cli.models import models
from simulator.model.load import model_names


def test_the_table_has_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    models()
    shown = capsys.readouterr().out
    assert all(f" {name}" in shown for name in model_names())
    line = next(line for line in shown.splitlines() if " gpt-oss-20b " in line)
    assert [cell.strip() for cell in line.strip("│").split("│")] == [
        "gpt-oss-20b",
        "24",
        "24",
        "32",
        "4",
        "0",
        "mxfp4",
        "12.61 MiB",
        "47.46 MiB",
        "9.455 GiB",
        "3.349 GiB",
        "20.91 B",
        "4.187 B",
        "-",
    ]
    olmoe = next(line for line in shown.splitlines() if " olmoe-1b-7b" in line)
    assert "olmoe-1b-7b*" in olmoe
    assert "expert_intermediate_size" in olmoe


def test_one_model_in_detail(capsys: pytest.CaptureFixture[str]) -> None:
    models("deepseek-v2-lite")
    shown = capsys.readouterr().out
    for words in ("27, of which MoE: 1-26 (26)", "17,301,504 B in bf16", "MLA: 16 heads", "31,104 B per token"):
        assert words in shown


def test_detail_says_what_is_not_verified(capsys: pytest.CaptureFixture[str]) -> None:
    models("llama-4-maverick")
    models("olmoe-1b-7b")
    shown = capsys.readouterr().out
    assert "1, 3, 5, 7" in shown
    assert "expert_intermediate_size: the class default is 2048" in shown


def test_json_has_units_in_its_keys(capsys: pytest.CaptureFixture[str]) -> None:
    models("mixtral-8x7b", quantisation="4.25 bit", json=True)
    summary = json.loads(capsys.readouterr().out)
    assert summary["expert_bytes"] == 176_160_768 * 17 // 32
    assert summary["expert_bf16_bytes"] == 352_321_536
    assert summary["expert_quantisation"] == "4.25 bit"
    assert summary["active_params"] == 12_879_925_248


def test_json_of_all_is_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    models(json=True)
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == list(model_names())


def test_a_format_applies_to_all_weights(capsys: pytest.CaptureFixture[str]) -> None:
    models("qwen3-30b-a3b", quantisation="q4_k")
    assert "2,654,208 B in q4_k (4.5 bit per weight)" in capsys.readouterr().out


def test_brackets_of_a_file_are_not_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(
        "name: '[/red] odd'\nsource: '[bold]x'\nhidden_size: 8\nnum_layers: 2\nvocab_size: 10\nnum_experts: 4\n"
        "top_k: 2\nexpert_intermediate_size: 3\nnum_heads: 2\nnum_kv_heads: 1\nhead_dim: 5\n",
        encoding="utf-8",
    )
    models(str(path))
    shown = capsys.readouterr().out
    assert "[/red] odd" in shown
    assert "[bold]x" in shown


def test_an_unknown_format_names_the_option() -> None:
    with pytest.raises(InputError, match="--quantisation: 'q4' is not a quantisation that moesim knows; did you mean"):
        models(quantisation="q4")


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    app(["models", "--help"], result_action="return_value")
    assert "moesim models qwen3-30b-a3b --quantisation q4_k" in capsys.readouterr().out
