"""A model is found by name or path, and nothing else is."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardware_profiles.errors import InputError
from simulator.model.load import load_model, model_names


def test_names_are_sorted_and_load() -> None:
    names = model_names()
    assert list(names) == sorted(names)
    assert all(load_model(name).name == name for name in names)


def test_a_yaml_file_loads(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nsource: a test\nhidden_size: 8\nnum_layers: 2\nvocab_size: 10\nnum_experts: 4\ntop_k: 2\n"
        "expert_intermediate_size: 3\nnum_heads: 2\nnum_kv_heads: 1\nhead_dim: 5\n",
        encoding="utf-8",
    )
    assert load_model(str(path)).name == "mine"


def test_faults_of_a_yaml_file_name_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.yaml: 9 faults\n  - source: is missing"):
        load_model(str(path))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mixtral-8x7", "did you mean mixtral-8x7b or mixtral-8x22b"),
        ("mistralai/Mixtral-8x7B", "did you mean mixtral-8x7b"),
        ("DeepSeek-V3", "did you mean deepseek-v3 or"),
        ("zzzzzzzz", "config.json; `moesim models` lists those that ship"),
        ("nowhere/config.json", "'nowhere/config.json' is not a file; check the path"),
        ("nowhere.yaml", "'nowhere.yaml' is not a file; check the path"),
        ("", "is not a file; check the path"),
        ("a\0b", "is neither a model that ships"),
        ("x" * 5000, "is neither a model that ships"),
    ],
)
def test_an_unknown_model_names_the_close_ones(
    name: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        load_model(name)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["../library/mixtral-8x7b", "../spec", "library/mixtral-8x7b", "MIXTRAL-8X7B"])
def test_a_name_never_leaves_the_library(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A name is compared with those that ship; it is not joined to a path."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        load_model(name)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.text(max_size=30))
def test_any_text_is_a_model_or_an_input_error(text: str) -> None:
    with suppress(InputError):
        assert load_model(text).num_experts > 0
