"""Loading by name and path, overrides by dotted path, and the wording of what is refused."""

import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from hardware_profiles.errors import InputError
from hardware_profiles.link_presets import link_presets, resolve_link
from hardware_profiles.load import assumed_figures, describe, digest, load_profile, resolved_figures
from hardware_profiles.profile import Constant, DurationTable, Figure

_SET = {"kind": "assumed", "source": "set for this run"}


@pytest.fixture
def t4_text() -> str:
    """Return the text of a profile that ships, to be changed."""
    return resources.files("hardware_profiles").joinpath("library", "t4.yaml").read_text(encoding="utf-8")


def _faults(name: str, overrides: dict[str, object] | None = None) -> list[str]:
    with pytest.raises(InputError) as caught:
        load_profile(name, overrides)
    return caught.value.faults


def test_a_file_is_the_same_machine(tmp_path: Path, t4_text: str) -> None:
    """A copy of a shipped file, loaded by its path, is the same profile."""
    path = tmp_path / "mine.yml"
    path.write_text(t4_text, encoding="utf-8")
    assert load_profile(str(path)) == load_profile("t4")


def test_an_unknown_name_lists_the_close_ones_first() -> None:
    """A misspelt machine brings the likely ones, then all."""
    with pytest.raises(InputError) as caught:
        load_profile("rtx4090")
    message = str(caught.value)
    assert message.startswith("hardware profile 'rtx4090': no such machine ships; did you mean 'rtx-4090'? ")
    assert message.index("known: rtx-4090") < message.index("a100-40gb")


@pytest.mark.parametrize("name", ["", ".", "..", "load", "t4\0", "~", "T4 "])
def test_odd_names_are_unknown_machines(name: str) -> None:
    """A name is looked up among the names that ship and never becomes a path."""
    assert "no such machine ships" in _faults(name)[0]


@pytest.mark.parametrize("path", ["../library/t4", "library/t4", "t4.yaml", "..\\t4", "/nowhere/t4.yaml"])
def test_a_path_names_a_file_not_a_shipped_machine(path: str) -> None:
    """A separator or an ending makes it a path, taken from the current folder."""
    assert _faults(path) == ["no such file; check the path"]


def test_a_figure_set_by_a_string_is_assumed() -> None:
    """An override replaces the value and says where it comes from."""
    profile = load_profile("t4", {"gpu.memory": "32 GiB", "gpu.flops.bf16": "1 TFLOP/s", "cpu.name": "another"})
    assert profile.gpu.memory == Figure(value=32 * 2**30, text="32 GiB", kind="assumed", source="set for this run")
    assert profile.gpu.flops["bf16"].value == 1e12
    assert profile.cpu.name == "another"
    assert "gpu.memory" in dict(assumed_figures(profile))
    assert load_profile("t4").gpu.memory.text == "16 GiB"


def test_a_figure_set_by_a_mapping_keeps_its_kind_and_source() -> None:
    """Who gives kind and source is taken at their word."""
    figure = {"value": "11 GB/s", "kind": "measured", "source": "my bench"}
    h2d = load_profile("t4", {"link.h2d.bandwidth": figure}).link.h2d
    assert h2d.bandwidth == Figure(value=11e9, text="11 GB/s", kind="measured", source="my bench")
    assert load_profile("t4", {"link.h2d": {"bandwidth": figure}}).link.h2d == h2d


def test_a_preset_takes_away_the_files_own_bandwidth_and_latency(tmp_path: Path, t4_text: str) -> None:
    """Setting a preset counts, for its direction only; the chunk stays, and so does what else the run sets."""
    own = (
        "    bandwidth: {value: 5 GB/s, kind: measured, source: bench}\n"
        "    latency: {value: 9 us, kind: measured, source: bench}\n"
        "    chunk: {value: 4 MiB, kind: assumed, source: chosen}\n"
    )
    path = tmp_path / "mine.yaml"
    path.write_text(t4_text.replace("    preset: gen3x16\n", own), encoding="utf-8")
    profile = load_profile(str(path), {"link.h2d.preset": "gen5x16"})
    h2d, d2h = resolve_link(profile.link.h2d), resolve_link(profile.link.d2h)
    assert (h2d.bandwidth, h2d.latency) == (link_presets()["gen5x16"].bandwidth, link_presets()["gen5x16"].latency)
    assert h2d.chunk is not None
    assert h2d.chunk.value == 4 * 2**20
    assert (d2h.bandwidth.value, d2h.latency.value) == (5e9, 9e-6)
    for overrides in (
        {"link.h2d.preset": "gen5x16", "link.h2d.bandwidth": "50 GB/s"},
        {"link.h2d.bandwidth": "50 GB/s", "link.h2d.preset": "gen5x16"},
    ):
        h2d = resolve_link(load_profile(str(path), overrides).link.h2d)
        assert (h2d.bandwidth.value, h2d.latency.value) == (50e9, 2e-6)


def test_durations_may_be_set_and_taken_away() -> None:
    """A string makes a constant duration; a mapping a table; None or "none" goes back to the roofline."""
    table = {"tokens": [1, 8], "time": ["8 us", "20 us"]}
    durations = load_profile("t4", {"durations.expert": "100 us", "durations.layer": table}).durations
    assert durations.expert == Constant(seconds=1e-4, **_SET)  # type: ignore[arg-type]
    assert durations.layer == DurationTable(amounts=(1, 8), seconds=(8e-6, 2e-5), **_SET)  # type: ignore[arg-type]
    assert describe(durations.layer) == "2 points, 8 us at 1 to 20 us at 8"
    assert len(digest(load_profile("t4", {"durations.layer": table}))) == 64
    for nothing in (None, "none"):
        assert load_profile("fixed-costs", {"durations.expert": nothing}).durations.expert is None


def test_durations_may_say_which_weights_they_are_for() -> None:
    """Tables and constants alike; the digest and what is shown tell them apart."""
    table = {"tokens": [1, 8], "time": ["8 us", "20 us"]}
    weighed = load_profile("t4", {"durations.expert": {**table, "weights": "17.3 MB"}})
    plain = load_profile("t4", {"durations.expert": table})
    assert weighed.durations.expert == DurationTable(
        amounts=(1, 8),
        seconds=(8e-6, 2e-5),
        weights_bytes=17.3e6,
        **_SET,  # type: ignore[arg-type]
    )
    assert describe(weighed.durations.expert) == "2 points, 8 us at 1 to 20 us at 8, for weights of 17.3 MB"
    assert digest(weighed) != digest(plain)
    constant = {"constant": "1 ms", "weights": "2 GiB"}
    for name in ("layer", "dense_layer", "step", "cpu_expert"):
        durations = load_profile("t4", {f"durations.{name}": constant}).durations
        assert getattr(durations, name) == Constant(seconds=1e-3, weights_bytes=2.0**31, **_SET)  # type: ignore[arg-type]


_OWN = {"constant": "1 us", "weights": "9 MB"}
_OTHER = {"constant": "1 us", "kind": "measured", "source": "a test"}


def test_durations_may_be_for_weights_of_several_sizes() -> None:
    """Ascending, whatever order they are written in; shown, and part of the digest."""
    others = [{**_OTHER, "weights": "20 MB"}, {**_OTHER, "weights": "2 MB"}]
    sized = load_profile("t4", {"durations.layer": {**_OWN, "other_weights": others}})
    assert sized.durations.layer is not None
    assert [one.weights_bytes for one in sized.durations.layer.other_weights] == [2e6, 2e7]
    assert describe(sized.durations.layer) == "1 us, for weights of 9 MB, also for 2 MB, 20 MB"
    digests = {
        digest(load_profile("t4", {"durations.layer": {**_OWN, "other_weights": others[:count]}})) for count in range(3)
    }
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        ({"durations.expert": {**_OWN, "other_weights": "2 MB"}}, "durations.expert: other_weights is '2 MB'"),
        (
            {"durations.expert": {**_OWN, "other_weights": [_OTHER]}},
            "durations.expert: other_weights: every duration there, and the one that they belong to, needs weights",
        ),
        (
            {"durations.expert": {"constant": "1 us", "other_weights": [{**_OTHER, "weights": "2 MB"}]}},
            "durations.expert: other_weights: every duration there, and the one that they belong to, needs weights",
        ),
        (
            {"durations.expert": {**_OWN, "other_weights": [{**_OTHER, "weights": "9 MB"}]}},
            "durations.expert: other_weights: two durations are for weights of the same bytes",
        ),
        (
            {"durations.expert": {**_OWN, "other_weights": [{"constant": "1 us", "weights": "2 MB"}]}},
            "durations.expert: kind is None",
        ),
        ({"durations.transfer": {"constant": "1 us", "other_weights": []}}, "durations.transfer: unknown key other_w"),
        ({"durations.expert": {"constant": "1 us", "weights": 5}}, "durations.expert: 5 is a bare number"),
        ({"durations.expert": {"constant": "1 us", "weights": "0 B"}}, "durations.expert: weights is '0 B'"),
        ({"durations.transfer": {"constant": "1 us", "weights": "1 B"}}, "durations.transfer: unknown key weights"),
        (
            {"durations.layer": "1 us", "durations.context": {"constant": "1 us", "weights": "1 B"}},
            "durations.context: unknown key weights",
        ),
        (
            {"durations.layer": "1 us", "durations.context": {"tokens": [1], "time": ["1 us"]}},
            "durations.context: unknown key tokens; a figure has attended_tokens",
        ),
        (
            {"durations.layer": "1 us", "durations.context": {"attended_tokens": [-1], "time": ["1 us"]}},
            "durations.context: attended_tokens should be whole numbers from 0",
        ),
        ({"durations.context": "1 us"}, "durations.context: is added to durations.layer, which is not given"),
        ({"runtime.cpu_workers": "2.5 workers"}, "runtime.cpu_workers: '2.5 workers' is not a whole number"),
        ({"runtime.cpu_workers": "0 workers"}, "runtime.cpu_workers: '0 workers' is zero"),
        ({"runtime.slowed_by_copies": "100 %"}, "runtime.slowed_by_copies: '100 %' is all of it, or more"),
        ({"cpu.slowed_by_copies": "100 %"}, "cpu.slowed_by_copies: '100 %' is all of it, or more"),
        ({"runtime.slowed_by_cpu_experts": "100 %"}, "runtime.slowed_by_cpu_experts: '100 %' is all of it, or more"),
        ({"cpu.speed_probe": "0 us"}, "cpu.speed_probe: '0 us' is zero"),
        ({"cpu.speed_probe": "172"}, "cpu.speed_probe: "),
    ],
)
def test_what_durations_and_workers_cannot_be(overrides: dict[str, object], complaint: str) -> None:
    """Each refused with its key and what it should be."""
    (fault,) = _faults("t4", overrides)
    assert fault.startswith(complaint)


def test_times_by_context_and_workers() -> None:
    """A context's table may begin with nothing attended; workers are whole; both may be taken away."""
    overrides: dict[str, object] = {
        "durations.layer": "1 us",
        "durations.context": {"attended_tokens": [0, 4096], "time": ["0 us", "3 us"]},
        "runtime.cpu_workers": "8 workers",
    }
    profile = load_profile("t4", overrides)
    assert profile.durations.context == DurationTable(amounts=(0, 4096), seconds=(0.0, 3e-6), **_SET)  # type: ignore[arg-type]
    assert profile.runtime.cpu_workers is not None
    assert profile.runtime.cpu_workers.value == 8
    taken = load_profile("t4", {"durations.context": None, "runtime.cpu_workers": "none"})
    assert taken == load_profile("t4")


def test_the_probe_of_a_processor() -> None:
    """It may be given, in seconds, and taken away; no machine that ships has one."""
    probed = load_profile("t4", {"cpu.speed_probe": "172 us"})
    assert probed.cpu.speed_probe is not None
    assert probed.cpu.speed_probe.value == 172e-6
    assert "cpu.speed_probe" in dict(resolved_figures(probed))
    assert load_profile("t4", {"cpu.speed_probe": None}) == load_profile("t4")
    assert load_profile("t4").cpu.speed_probe is None


def test_what_a_machine_draws_and_costs() -> None:
    """Set for a run, figure by figure or as groups; both powers of a resource may be taken away."""
    profile = load_profile(
        "t4",
        {
            "power.gpu.busy": "60 W",
            "power.link": {"idle": "1 W", "busy": "5 W"},
            "power.rest": "0.1 kW",
            "price.purchase": "1600 USD",
            "price.lifetime": "3 years",
            "price.electricity": {"value": "0.3 USD/kWh", "kind": "published", "source": "a bill"},
        },
    )
    gpu, link, rest = profile.power.gpu, profile.power.link, profile.power.rest
    assert gpu.busy is not None
    assert (gpu.busy.value, gpu.busy.kind, gpu.busy.source) == (60, "assumed", "set for this run")
    assert link.idle is not None
    assert rest is not None
    assert (link.idle.value, rest.value) == (1, 100)
    assert profile.price.lifetime is not None
    assert profile.price.lifetime.value == 3 * 8766
    dark = load_profile("t4", {"power.gpu.idle": None, "power.gpu.busy": "none"})
    assert not [path for path, _ in resolved_figures(dark) if path.startswith("power.")]


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        ({"power.link.busy": "5 W"}, "power.link.idle: is missing, and energy needs both"),
        ({"power.cpu.idle": "5 W"}, 'give it (power.cpu.busy="20 W"), or take the other away (power.cpu.idle=none)'),
        ({"power.gpu.busy": "5"}, "power.gpu.busy: '5' is a bare number"),
        ({"power.gpu.busy": "5 J"}, "which is not one of W"),
        ({"price.per_hour": "1 USD"}, "which is not one of USD/h"),
        ({"price.purchase": "1 USD"}, "price.lifetime: is missing"),
        ({"price.lifetime": "1 years"}, "price.lifetime: spreads price.purchase, which is not given"),
        ({"price.purchase": "1 USD", "price.lifetime": "0 h"}, "is zero; it has to be more"),
        (
            {"price.purchase": "1 USD", "price.lifetime": "1 h", "price.per_hour": "1 USD/h"},
            "price: is both rented (per_hour) and bought (purchase)",
        ),
        ({"power.nvme.busy": "5 W"}, "a profile has no such path"),
    ],
)
def test_what_power_and_price_cannot_be(overrides: dict[str, object], complaint: str) -> None:
    """Half of a power, a price that says too little or twice, another unit."""
    assert any(complaint in fault for fault in _faults("t4", overrides))


def test_electricity_is_paid_for_energy() -> None:
    """Its price needs a power."""
    assert "price.electricity: is paid for energy" in _faults("fixed-costs", {"price.electricity": "0.3 USD/kWh"})[0]


def test_paths_that_name_nothing() -> None:
    """Each wrong path is told with the nearest right ones, all at once, and no file is changed."""
    wrong: dict[str, object] = {
        "link.h2d.bandwith": "5 GB/s",
        "gpu": "H100",
        "gpu.memory.value": "3 GiB",
        "gpu.flops.bf61": "3 TFLOP/s",
        "gpu.memory": None,
        "": "x",
    }
    faults = {path: said for path, _, said in (fault.partition(": ") for fault in _faults("t4", wrong))}
    assert faults["link.h2d.bandwith"].startswith("a profile has no such path; try link.h2d.bandwidth")
    assert faults["gpu"].startswith("is a group, not a figure; name one of gpu.name, gpu.memory")
    assert faults["gpu.memory.value"] == "an override sets a figure whole; write gpu.memory"
    assert faults["gpu.flops.bf61"].startswith("is no dtype; known: bf16")
    assert faults["gpu.memory"] == "cannot be taken away; give a value"
    assert faults[""].startswith("a profile has no such path")


def test_values_are_held_to_the_rules_of_a_file() -> None:
    """A bare number, a wrong unit and an unknown preset are told together, and that overrides were in play."""
    overrides: dict[str, object] = {"gpu.memory": 32, "gpu.bandwidth": "3 TB", "link.d2h.preset": "gen7x16"}
    with pytest.raises(InputError) as caught:
        load_profile("t4", overrides)
    lines = str(caught.value).splitlines()
    assert lines[0] == "hardware profile 't4' with overrides: 3 faults"
    assert lines[1].startswith("  - gpu.memory: 32 is a bare number; write it with a unit of bytes")
    assert lines[2].startswith("  - gpu.bandwidth: '3 TB' has the unit 'TB', which is not one of bytes/s")
    assert lines[3].startswith("  - link.d2h.preset: 'gen7x16' is not a link preset")


def test_a_link_setting_that_stated_transfer_times_would_hide_is_refused() -> None:
    """A faster link on a profile with its own transfer times would change nothing: an error, with the way out."""
    faults = _faults("fixed-costs", {"link.h2d.preset": "gen5x16"})
    assert faults[0].startswith("link.h2d.preset: would have no effect, because durations.transfer says")
    profile = load_profile("fixed-costs", {"link.h2d.preset": "gen5x16", "durations.transfer": None})
    assert profile.durations.transfer is None
    assert load_profile("fixed-costs", {"link.h2d.chunk": "1 MiB"}).link.h2d.chunk is not None


def test_every_fault_of_a_file_with_its_dotted_key(tmp_path: Path, t4_text: str) -> None:
    """Six things wrong with a file make six faults under its name."""
    broken = (
        t4_text.replace('value: "16 GiB"', "value: 16")
        .replace("preset: gen3x16", "preset: gen3x61", 1)
        .replace("kind: datasheet", "kind: guessed", 2)
        .replace("host_memory: pinned", "host_memory: locked")
        .replace("  launch:", "  lunch:")
    )
    path = tmp_path / "broken.yaml"
    path.write_text(broken, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_profile(str(path))
    assert str(caught.value).startswith(f"{path}: 6 faults\n")
    keys = {fault.split(":")[0] for fault in caught.value.faults}
    assert keys == {
        "gpu.memory",
        "gpu.bandwidth",
        "gpu.launch",
        "gpu.lunch",
        "link.host_memory",
        "link.h2d.preset",
    }


def test_pageable_memory_needs_its_own_bandwidth() -> None:
    """Presets hold for pinned memory; pageable copies have to bring their figures."""
    assert [fault.split(":")[0] for fault in _faults("t4", {"link.host_memory": "pageable"})] == [
        "link.h2d.bandwidth",
        "link.d2h.bandwidth",
    ]
    slow: dict[str, object] = {
        "link.host_memory": "pageable",
        "link.h2d.bandwidth": "4 GB/s",
        "link.d2h.bandwidth": "4 GB/s",
    }
    assert load_profile("t4", slow).link.host_memory == "pageable"


def test_a_link_without_preset_and_bandwidth_is_refused() -> None:
    """Taking the preset away leaves nothing to compute with."""
    assert _faults("t4", {"link.h2d.preset": None})[0].startswith("link.h2d: has neither a preset nor a bandwidth")


def test_numpy_and_torch_stay_out() -> None:
    """Loading a machine imports neither, so that it takes no time."""
    code = (
        "import sys; from hardware_profiles.load import load_profile; load_profile('t4'); "
        "print(sorted({'numpy', 'torch', 'simulator'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
