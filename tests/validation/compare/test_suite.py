"""Suites: lists multiply out, ids are stable, faults are told all at once."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from hardware_profiles.errors import InputError
from simulator.scenario import PolicyChoice, build_scenario
from tests.validation.compare import fake
from validation.compare.simulate import scenario_of
from validation.compare.suite import VALIDATION, Configuration, Suite, read_suite, suite_keys

SHIPPED = sorted((VALIDATION / "suites").glob("*.yaml"))


def read(folder: Path, suite: str = fake.SUITE) -> Suite:
    """Read a suite in a folder that has all it names."""
    return read_suite(fake.fill(folder, suite), trace_folder=folder / "traces")


def faults(folder: Path, changes: Mapping[str, object]) -> list[str]:
    """Return what is said against the suite with top-level keys replaced."""
    values = yaml.safe_load(fake.SUITE) | dict(changes)
    with pytest.raises(InputError) as caught:
        read(folder, yaml.safe_dump(values))
    return caught.value.faults


def test_lists_multiply_out(tmp_path: Path) -> None:
    """In the order of the file, the last list fastest; defaults fill in what an entry leaves out."""
    suite = read(tmp_path)
    assert [configuration.id for configuration in suite.configurations] == [
        f"{model}_c{share}_{eviction}_b1_2GBps"
        for model in ("forced", "own")
        for share in (25, 50)
        for eviction in ("lru", "fifo")
    ] + ["forced_c50_belady_perfect+lookahead-layers=2_b2_2GBps"]
    last = suite.configurations[-1]
    assert (last.bandwidth_bytes_per_s, last.latency_s, last.max_tokens, last.batch) == (2e9, 50e-6, 12, 2)
    assert last.prefetch.parameters == {"lookahead_layers": 2}
    assert last.trace == tmp_path / "traces" / "forced.safetensors"
    assert last.model.config == str(tmp_path / "tiny.json")


def test_an_id_says_what_is_unusual(tmp_path: Path) -> None:
    """And nothing else: the plainest configuration has a short one."""
    entries: list[dict[str, object]] = [
        {"model": "own", "cache_frac": 0.125},
        {"model": "own", "cache_frac": 1, "bandwidth": "1.5 GB/s", "chunk": "1 MiB", "scope": "global", "miss": "cpu"},
        {
            "model": "own",
            "cache_frac": 0.5,
            "placement": "popular",
            "batch": 8,
            "label": "long",
            "bandwidth": "700 MB/s",
        },
        {"model": "own", "cache_frac": 0.5, "system": "fiddler"},
        {
            "model": "own",
            "cache_frac": 0.5,
            "system": "fiddler",
            "eviction": "fifo",
            "miss": "fetch",
            "scope": "global",
        },
        {
            "model": "own",
            "cache_frac": 0.5,
            "miss": "low_precision",
            "placement": {"name": "pinned_popular", "staging": 3},
            "order": "by_load",
            "queue": "purge_all",
            "slots": "equal",
            "low_precision": {"format": "int8", "frac": 0.2},
            "staging": 2,
            "write_back": True,
        },
        {
            "model": "own",
            "cache_frac": 0.5,
            "miss": {"name": "defer", "ranks": 1},
            "lookahead": {"recall": [0.9, 0.7]},
            "fit": {"sequences": 2},
        },
    ]
    suite = read(tmp_path, yaml.safe_dump(yaml.safe_load(fake.SUITE) | {"defaults": {}, "configurations": entries}))
    assert [configuration.id for configuration in suite.configurations] == [
        "own_c12.5_lru_b1",
        "own_c100_lru_cpu_b1_1.5GBps_chunk1048576_global",
        "own_c50_lru_popular_b8_700MBps_long",
        "own_c50_fiddler_b1",
        "own_c50_fiddler_fifo_fetch_b1_global",
        "own_c50_lru_low-precision_pinned-popular+staging=3_by-load_purge-all_low+format=int8+frac=0.2_staging2_write-back_b1",
        "own_c50_lru_defer+ranks=1_lookahead+recall=0.9-0.7_fit+sequences=2_b1",
    ]
    assert suite.configurations[0].bandwidth_bytes_per_s is None


def test_a_scenario_takes_what_an_entry_gives_over_its_system(tmp_path: Path) -> None:
    """What it does not give is the system's; reports are told the policies that come of it."""
    entries: list[dict[str, object]] = [
        {"model": "own", "cache_frac": 0.5, "system": "fiddler", "miss": "cpu", "staging": 1},
        {"model": "own", "cache_frac": 0.5},
    ]
    suite = read(tmp_path, yaml.safe_dump(yaml.safe_load(fake.SUITE) | {"defaults": {}, "configurations": entries}))
    fiddler, plain_one = suite.configurations
    profile = fake.profiles(tmp_path)[1]
    scenario = scenario_of(fiddler, profile)
    alone = build_scenario(
        {"trace": "t", "model": "m", "hardware": "h", "system": "fiddler"}, "the system without an entry"
    )
    assert (scenario.miss, scenario.placement) == (PolicyChoice(name="cpu"), alone.placement)
    assert scenario.placement is not None
    assert (scenario.cache.frac, scenario.cache.staging, scenario.cache.scope) == (0.5, 1, alone.cache.scope)
    assert (fiddler.miss.name, fiddler.scope) == ("cpu", alone.cache.scope)
    assert (plain_one.eviction.name, plain_one.miss.name, plain_one.scope) == ("lru", "fetch", "per_layer")
    assert scenario_of(plain_one, profile).eviction is None


def test_faults_are_told_at_once(tmp_path: Path) -> None:
    """Each with its place, its value and what to do."""
    told = faults(
        tmp_path,
        {
            "models": {
                "a": {
                    "config": "nowhere.json",
                    "dtype": "float32",
                    "routing": "forced",
                    "prompt_tokens": 1,
                    "output_tokens": 2,
                },
                "b": {"dtype": "float32", "routing": "own", "trace": "nano", "prompt_tokens": 1, "output_tokens": 2},
            },
            "defaults": {},
            "configurations": [
                {"model": "c", "cache_frac": 0.5},
                {"model": "a", "cache_frac": [0.5, 2.0], "batch": 0},
                {"model": "a", "cache_frac": [], "latency": "5 us"},
                {"model": "a", "cache_frac": 0.5, "bandwidth": 2, "evict": "lru"},
                {"model": "a", "cache_frac": 0.5, "latency": "5 us"},
                {"model": "a"},
                {"model": "a", "cache_frac": 0.5, "system": "fidler"},
            ],
        },
    )
    for expected in (
        "models.a.config: 'nowhere.json' is no file and no shape that ships",
        "models.a.trace: is missing",
        "models.b: gives neither config and checkpoint; give one of them",
        "models.b.trace: would have no effect",
        "configurations.0.model: 'c' is not among the suite's models",
        "configurations.1.cache_frac: 2.0 is not a share of the experts",
        "configurations.1.batch: 0:",
        "configurations.2.cache_frac: is an empty list",
        "configurations.3.bandwidth: 2 is a bare number",
        "configurations.3.evict: unknown key",
        "configurations.4.latency: would have no effect without a bandwidth",
        "configurations.5.cache_frac: is missing",
        "configurations.6.system: 'fidler' is not known",
    ):
        assert any(fault.startswith(expected) for fault in told), (expected, told)
    assert len(told) == len(set(told)) == 13


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ({}, "2 of them are own_c50_lru_b1 and are the same"),
        ({"max_tokens": 3}, "2 of them are own_c50_lru_b1 and differ in max_tokens alone; give them a label each"),
    ],
)
def test_ids_are_distinct(tmp_path: Path, second: dict[str, object], told: str) -> None:
    """Two configurations of one name would share their results."""
    entry = {"model": "own", "cache_frac": 0.5}
    assert faults(tmp_path, {"defaults": {}, "configurations": [entry, entry | second]}) == [f"configurations: {told}"]


def test_a_product_is_bounded(tmp_path: Path) -> None:
    """A slip of the pen does not take a day."""
    entry = {"model": "own", "cache_frac": 0.5, "batch": list(range(1, 201)), "max_tokens": list(range(1, 201))}
    assert "configurations.0: makes more than 10000 configurations; divide the suite" in faults(
        tmp_path, {"configurations": [entry]}
    )


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_suites_that_ship_are_valid(path: Path, tmp_path: Path) -> None:
    """Each is named as its file."""
    suite = read_suite(path, trace_folder=tmp_path)
    assert suite.name == path.stem
    assert suite.description


def shipped(name: str, folder: Path) -> list[Configuration]:
    """Return the configurations of a suite that ships."""
    return list(read_suite(VALIDATION / "suites" / f"{name}.yaml", trace_folder=folder).configurations)


def test_the_suites_cover_what_they_are_for(tmp_path: Path) -> None:
    """Models, shares, evictions, prefetches, batches, links."""
    cpu = shipped("cpu", tmp_path)
    assert len(cpu) >= 28
    assert {item.model_name for item in cpu} == {"lab-wide", "lab-narrow"}
    assert {item.eviction.name for item in cpu} == {"lru", "lfu", "fifo", "belady"}
    placements = [item.settings.get("placement") for item in cpu]
    assert {one["name"] for one in placements if isinstance(one, dict)} == {"popular", "pinned_popular"}
    assert {item.prefetch.name for item in cpu} == {"none", "gate_lookahead"}
    assert {item.batch for item in cpu} == {1, 2, 4, 8}
    assert {item.bandwidth_bytes_per_s for item in cpu} == {1e9, 2e9, 4e9}
    assert {min(item.cache_frac for item in cpu), max(item.cache_frac for item in cpu)} == {0.25, 0.75}
    assert len(shipped("cpu-quick", tmp_path)) == 6
    cuda = shipped("cuda-large", tmp_path)
    assert {item.miss.name for item in cuda} == {"fetch", "cpu"}
    assert {item.batch for item in cuda} == {1, 8, 32}
    assert {item.bandwidth_bytes_per_s for item in cuda} == {None}


def test_the_documentation_names_every_key() -> None:
    """A suite's keys stand in validation/suites/README.md."""
    text = (VALIDATION / "suites" / "README.md").read_text(encoding="utf-8")
    for group, names in suite_keys().items():
        for name in names:
            assert f"`{name}`" in text, (group, name)
