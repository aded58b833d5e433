"""The key of a result changes with all that the result depends on, and with nothing else."""

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from hardware_profiles.errors import InputError
from simulator.inputs import resolve_inputs
from simulator.points.code import code_digest
from simulator.points.files import Files
from simulator.points.key import result_key
from simulator.scenario import build_scenario, scenario_keys

Values = Mapping[str, object]

CONSIDERED = {
    *("trace", "model", "hardware", "pcie", "hardware_set", "quantisation", "cache", "system", "placement", "slots"),
    *(
        "eviction",
        "prefetch",
        "miss",
        "order",
        "queue",
        "batching",
        "low_precision",
        "tiles",
        "lookahead",
        "fit",
        "batch",
    ),
    *(
        "sequences",
        "skip_sequences",
        "max_tokens",
        "prefill_chunk_tokens",
        "warmup_steps",
        "seed",
        "workload",
        "scheduler",
        "slo",
        "stop",
        "warmup",
        "replicas",
        "host_cache",
        "gpus",
    ),
    "description",
}


def key_of(values: Values, files: Files | None = None) -> str:
    """Return the key of a scenario's plain values."""
    scenario = build_scenario(values, "x")
    return result_key(scenario, resolve_inputs(scenario, "x"), files or Files())


def test_each_field_was_considered() -> None:
    """A new field of a scenario that names a file has to be digested by `dependencies`; then it goes into this list."""
    assert set(scenario_keys()) == CONSIDERED


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4},
        {"batch": 2},
        {"cache": {"experts": 10}},
        {"cache": {"experts": 9, "scope": "global"}},
        {"eviction": "fifo"},
        {"system": "fiddler"},
        {"pcie": "gen5x16"},
        {"hardware_set": {"gpu.memory": "25 GiB"}},
        {"hardware_set": {"gpu.memory_reserve": "2 GiB"}},
        {"quantisation": {"kv_cache": "fp8"}},
        {"quantisation": {"experts": "q4_k"}},
        {"fit": {"sequences": 1}},
        {"max_tokens": 5},
    ],
    ids=str,
)
def test_what_a_result_depends_on(values: Values, change: Values) -> None:
    """Each of these is another result."""
    base = {**values, "hardware": "rtx-4090"}
    assert key_of({**base, **change}) != key_of(base)


def test_what_it_does_not_depend_on(values: Values, tmp_path: Path) -> None:
    """Where files lie, how a value is written, and a description do not count."""
    key = key_of(values)
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.copy(str(values["trace"]), tmp_path / "elsewhere" / "other.safetensors")
    assert key_of({**values, "trace": str(moved)}) == key
    assert key_of({**values, "description": "a text"}) == key
    assert key_of({**values, "eviction": "lru"}) == key_of({**values, "eviction": {"name": "lru"}})
    system = key_of({**values, "system": "fiddler"})
    assert key_of({**values, "system": "fiddler", "miss": "cpu_by_tokens"}) == system, "what its system says already"


def edited(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Change a YAML file."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def test_contents_of_files_count(values: Values, tmp_path: Path) -> None:
    """Of trace, model and machine it is the content that counts, also when a file is changed under an open one."""
    files = Files()
    trace, model = tmp_path / "copy.safetensors", tmp_path / "copy.yaml"
    shutil.copy(str(values["trace"]), trace)
    shutil.copy(str(values["model"]), model)
    copied = {**values, "trace": str(trace), "model": str(model)}
    first = key_of(copied, files)
    content = bytearray(trace.read_bytes())
    content[-1] ^= 1  # of the last tensor: still a trace, or none; here only the digest is asked
    trace.write_bytes(content)
    assert files.digest(trace) != files.digest(str(values["trace"]))
    shutil.copy(str(values["trace"]), trace)
    assert key_of(copied, files) == first
    edited(model, lambda spec: spec.update(num_heads=int(str(spec.get("num_heads", 1))) * 2))
    assert key_of(copied, files) != first


def test_a_folder_is_its_files(tmp_path: Path) -> None:
    """A renamed shard is another folder; a missing file is told."""
    files = Files()
    (tmp_path / "a").write_bytes(b"1")
    first = files.digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert files.digest(tmp_path) != first
    with pytest.raises(InputError, match="cannot be read: No such file"):
        files.digest(tmp_path / "a")


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder of somebody's modules: `mine_of_test` imports `helped.deeply`, and numpy."""
    folder = tmp_path / "code"
    (folder / "helped").mkdir(parents=True)
    (folder / "mine_of_test.py").write_text(
        "import json\nimport numpy\nfrom helped import deeply\nfrom helped.deeply import f\n"
    )
    (folder / "helped" / "__init__.py").write_text("")
    (folder / "helped" / "deeply.py").write_text("def f(): return 1\n")
    (folder / "apart.py").write_text("")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in ("mine_of_test", "helped", "helped.deeply"):
        sys.modules.pop(name, None)


def test_a_users_policy_counts_with_what_it_imports(own_code: Path) -> None:
    """A change of a module that it imports, or of a package around one, is another policy; other files are not."""

    def digest() -> str:
        code_digest.cache_clear()
        importlib.invalidate_caches()
        return code_digest("mine_of_test")

    seen = {digest()}
    (own_code / "apart.py").write_text("x = 1\n")
    assert digest() in seen
    for name in ("helped/deeply.py", "helped/__init__.py", "mine_of_test.py"):
        path = own_code / name
        path.write_text(path.read_text() + "# changed\n")
        assert digest() not in seen, name
        seen.add(digest())
    with pytest.raises(ModuleNotFoundError):
        code_digest("no_such_module")
