"""A calibration of a tiny model, from the measurements to the profile that the simulator takes."""

import json
import re
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import transformers

from hardware_profiles.errors import InputError
from hardware_profiles.load import load_profile, resolved_figures
from hardware_profiles.profile import DurationTable, HardwareProfile
from tests.hand_made import make_trace, random_routing
from validation.calibrate import run
from validation.calibrate.measurement import Measurement
from validation.calibrate.page import calibration_page
from validation.calibrate.profile import assemble
from validation.calibrate.reference import Speed
from validation.calibrate.robust import Effort, which_count
from validation.calibrate.run import CalibrationOptions, Outcome, calibrate
from validation.calibrate.samples import Samples, samples_path
from validation.calibrate.subject import Subject
from validation.calibrate.target import open_model
from validation.cli import calibrate as command
from validation.runtime.device import open_device
from validation.runtime.patience import Patience
from validation.runtime.quiet import quiet

LAYERS, DENSE = 3, 1


@dataclass(frozen=True)
class Done:
    """A finished calibration and its files."""

    options: CalibrationOptions
    outcome: Outcome
    out: Path
    page: Path
    told: list[tuple[str, float]]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny Qwen3-MoE's config: three layers, the second without experts."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    transformers.Qwen3MoeConfig(
        architectures=["Qwen3MoeForCausalLM"],
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        moe_intermediate_size=24,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        num_experts=8,
        num_experts_per_tok=2,
        mlp_only_layers=[DENSE],
        max_position_embeddings=1024,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def done(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Calibrate once."""
    folder = tmp_path_factory.mktemp("calibrated")
    options = CalibrationOptions(device="cpu", model=str(config), max_tokens=32, max_batch=2, budget_s=1)
    told: list[tuple[str, float]] = []
    out, page = folder / "mine.yaml", folder / "mine.html"
    outcome = calibrate(options, out, page=page, progress=lambda what, share: told.append((what, share)))
    return Done(options=options, outcome=outcome, out=out, page=page, told=told)


def profile_of(done: Done) -> HardwareProfile:
    """Return the profile as the simulator reads it."""
    return load_profile(str(done.out))


def test_passes_have_turns_of_one_sample(done: Done) -> None:
    """All points have a sample before any has a second one: a point's samples are of different moments."""
    for name in ("pass.decode", "pass.waits", "pass.crowded"):
        series = done.outcome.samples.taken[name].series
        ends = sorted((end_s, number) for number, one in enumerate(series) for end_s in one.ended_s)
        assert {number for _, number in ends[: len(series)]} == set(range(len(series)))


def test_the_profile_is_read_back_as_it_was_made(done: Done) -> None:
    """By the loader that `moesim run --hardware` uses."""
    assert profile_of(done) == done.outcome.calibrated.profile
    assert profile_of(done).name == "mine"


def test_every_figure_is_measured_and_dated(done: Done) -> None:
    """With what it was measured on; nothing assumed is left."""
    figures = resolved_figures(profile_of(done))
    assert {known.kind for _, known in figures} == {"measured"}
    date = max(taken.began for taken in done.outcome.samples.taken.values())[:10]
    assert [path for path, known in figures if date[:7] not in known.source] == []
    timed = [known.source for path, known in figures if path.startswith("durations.")]
    assert all(f"torch {torch.__version__}" in source and "samples" in source for source in timed)


def test_all_tables_are_there_and_rise(done: Done) -> None:
    """By tokens, by attended tokens; with the bytes of the weights behind them."""
    durations = profile_of(done).durations
    tables = {
        name: getattr(durations, name) for name in ("expert", "cpu_expert", "layer", "dense_layer", "step", "context")
    }
    for name, table in tables.items():
        assert isinstance(table, DurationTable), name
        assert all(later >= earlier for earlier, later in pairwise(table.seconds)), name
        assert table.seconds[-1] > 0, name
    assert tables["expert"].amounts == (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
    assert tables["expert"].weights_bytes == tables["cpu_expert"].weights_bytes == 3 * 32 * 24 * 4
    assert tables["step"].weights_bytes == 97 * 32 * 4
    assert tables["layer"].amounts == (1, 2, 16)
    assert tables["context"].amounts[0] == tables["context"].seconds[0] == 0


def test_the_weights_of_layers_are_those_of_the_model_file(done: Done, config: Path) -> None:
    """So that for the same model, in the same format, nothing is scaled."""
    from simulator.model.footprint import non_expert_layer_params
    from simulator.model.load import load_model

    spec, durations = load_model(str(config)), profile_of(done).durations
    assert isinstance(durations.layer, DurationTable)
    assert isinstance(durations.dense_layer, DurationTable)
    assert durations.layer.weights_bytes == 4 * non_expert_layer_params(spec, 0)
    assert durations.dense_layer.weights_bytes == 4 * non_expert_layer_params(spec, DENSE)


def test_a_run_is_simulated_with_it(done: Done, config: Path, tmp_path: Path) -> None:
    """The profile and the model it was measured on make a whole machine."""
    from simulator.run import simulate
    from simulator.scenario import build_scenario

    routing = random_routing(1, lengths=[12, 12], num_layers=LAYERS - 1, num_experts=8, top_k=2)
    make_trace(tmp_path / "t.safetensors", routing, num_experts=8, prompt_tokens=[4, 4])
    values: dict[str, object] = {
        "trace": str(tmp_path / "t.safetensors"),
        "model": str(config / "config.json"),
        "hardware": str(done.out),
        "quantisation": {"experts": "fp32", "rest": "fp32", "kv_cache": "fp32"},
        "cache": {"frac": 0.5},
        "batch": 2,
    }
    summary = simulate(build_scenario(values, "test")).summary
    tpot = summary["tpot_s"]
    assert isinstance(tpot, dict)
    step = profile_of(done).durations.step
    assert isinstance(step, DurationTable)
    assert step.seconds[0] < tpot["mean"] < 1


def test_all_samples_are_kept(done: Done) -> None:
    """One file, of every measurement, with all points of it."""
    values = json.loads(samples_path(done.out).read_text(encoding="utf-8"))
    assert set(values["measurements"]) == set(done.outcome.samples.taken)
    assert {"link.h2d", "expert.alone", "pass.decode", "cpu_expert.loaded", "host.memory"} <= set(
        values["measurements"]
    )
    points = values["measurements"]["expert.alone"]["points"]
    ats = [point["at"] for point in points]
    of_scale = {scale: [at["tokens"] for at in ats if at["scale"] == scale] for scale in (1, 0.5, 1.5)}
    assert of_scale[1] == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]
    assert of_scale[0.5] == of_scale[1.5] == [1, 2, 4, 8, 16, 32]
    assert all(point["samples_s"]["time"] for point in points)


def test_progress_names_what_is_measured_and_rises(done: Done) -> None:
    """To the end."""
    shares = [share for _, share in done.told]
    assert shares[-1] == 1.0
    assert all(0 <= share <= 1 for share in shares)
    assert {"Decode steps, by sequences and by tokens that each attends to"} <= {what for what, _ in done.told}


def test_the_page_stands_alone(done: Done) -> None:
    """Nothing is fetched; every measurement and every figure has its place."""
    page = done.page.read_text(encoding="utf-8")
    assert '<script src="' not in page
    assert re.findall("<link[^>]*>", page) == ['<link rel="icon" href="data:,">']
    assert "default-src 'none'" in page
    assert "Host to device, alone" in page
    assert "durations.layer + durations.context" in page
    assert all(path in page for path, _ in resolved_figures(profile_of(done)))


def test_what_has_been_measured_is_not_measured_again(done: Done, tmp_path: Path) -> None:
    """A calibration that was killed goes on with what is missing."""
    out = tmp_path / "again.yaml"
    values = json.loads(samples_path(done.out).read_text(encoding="utf-8"))
    kept = {name: entry for name, entry in values["measurements"].items() if name != "device.launch"}
    samples_path(out).write_text(json.dumps(values | {"measurements": kept}), encoding="utf-8")
    outcome = calibrate(done.options, out)
    assert outcome.num_measured == 1
    assert json.loads(samples_path(out).read_text(encoding="utf-8"))["measurements"].items() >= kept.items()
    same = outcome.calibrated.profile.durations
    assert same == done.outcome.calibrated.profile.durations


def test_the_profile_says_how_fast_the_machine_was(done: Done) -> None:
    """As a figure, and in each source; the page shows the probes."""
    reference = done.outcome.samples.reference
    assert reference is not None
    known = profile_of(done).cpu.speed_probe
    assert known is not None
    assert known.value == pytest.approx(reference.speed_ns / 1e9, rel=1e-3)
    timed = [known.source for path, known in resolved_figures(profile_of(done)) if path.startswith("durations.")]
    assert all("of samples counted" in source for source in timed)
    page = done.page.read_text(encoding="utf-8")
    assert "Speed of the machine" in page
    assert page.index("Speed of the machine") < page.index('id="figure-0"')


@pytest.mark.parametrize(("counted_frac", "warns"), [(0.83, False), (0.49, True)])
def test_the_command_says_how_fast_the_machine_was(
    done: Done, capsys: pytest.CaptureFixture[str], counted_frac: float, warns: bool
) -> None:
    """And warns where most samples did not count."""
    outcome = replace(done.outcome, calibrated=replace(done.outcome.calibrated, counted_frac=counted_frac))
    command._tell(outcome, done.out, None)
    told = capsys.readouterr()
    assert re.search(rf"^machine speed: probe \S+ us, {counted_frac:.0%} of samples counted$", told.out, re.MULTILINE)
    assert told.err.startswith("moesim: warning: only 49% of the samples") if warns else told.err == ""


def test_the_command_says_what_was_not_measured(done: Done, capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr, as a warning."""
    command._tell(replace(done.outcome, warnings=["a sibling was not measured: too large"]), done.out, None)
    assert "moesim: warning: a sibling was not measured: too large\n" in capsys.readouterr().err


def test_patience_is_shared_out_like_the_time() -> None:
    """By weight among what is still to come, with what those before have left over; a slow spell at first leaves some."""

    def measurement(weight: float) -> Measurement:
        return Measurement(name="m", title="m", grid=[{}], set_up=lambda: nullcontext(lambda _: {}), weight=weight)

    patience = Patience(60.0)
    measurements = [measurement(weight) for weight in (1, 2, 3)]
    may_wait_s = []
    for number, _ in enumerate(run._plan(measurements, measurements, 1.0, patience, lambda _what, _share: None)):
        may_wait_s.append(patience.left_s)
        patience.spent_s += [10.0, 5.0, 45.0][number]
    assert may_wait_s == pytest.approx([10, 50 * 2 / 5, 45])
    assert patience.left_s == 0


def test_tables_are_there_for_other_weights(done: Done) -> None:
    """Of siblings at half and one and a half times the width, measured and dated like the rest."""
    durations = profile_of(done).durations
    for name in ("expert", "cpu_expert", "layer", "dense_layer", "step"):
        table = getattr(durations, name)
        assert isinstance(table, DurationTable), name
        smaller, larger = table.other_weights
        sizes = [one.weights_bytes or 0 for one in (smaller, table, larger)]
        assert 0 < sizes[0] < sizes[1] < sizes[2], name
        assert "tiny at 0.5 times its width, in float32" in smaller.source
        assert "tiny at 1.5 times its width, in float32" in larger.source
    assert durations.context is not None
    assert durations.context.other_weights == ()


def resumed(done: Done, out: Path, reference_ns: float) -> Outcome:
    """Go on with samples that lack the last measurement and have another reference."""
    values = json.loads(samples_path(done.out).read_text(encoding="utf-8"))
    values["reference"]["speed_ns"] = reference_ns
    del values["measurements"]["device.launch"]
    samples_path(out).write_text(json.dumps(values), encoding="utf-8")
    return calibrate(done.options, out, page=out.with_suffix(".html"))


def test_a_resumed_calibration_keeps_its_reference(done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And takes none anew; where nothing was taken at it, all samples are used and the sources say so."""
    monkeypatch.setattr(run, "take_reference", lambda: pytest.fail("a reference was taken anew"))
    outcome = resumed(done, tmp_path / "again.yaml", 1e9)
    assert outcome.num_measured == 1
    (series,) = outcome.samples.taken["device.launch"].series
    assert (series.reference_ns, len(series.probes_ns)) == (1e9, len(series.ended_s))
    assert len(series.probes_ns) >= 5
    assert outcome.calibrated.counted_frac == 0
    profile = load_profile(str(tmp_path / "again.yaml"))
    assert profile.cpu.speed_probe is not None
    assert profile.cpu.speed_probe.value == 1
    assert "none at 1 of 1 points, where all are used instead" in profile.gpu.launch.source


def test_the_speed_of_another_profile_may_be_kept_to(done: Done, tmp_path: Path) -> None:
    """What was measured at it says so, and at no other; a profile that does not tell its speed is refused."""
    out = tmp_path / "second.yaml"
    values = json.loads(samples_path(done.out).read_text(encoding="utf-8"))
    del values["measurements"]
    samples = json.dumps(
        {"identity": values["identity"], "format": values["format"], "reference": None, "measurements": {}}
    )
    samples_path(out).write_text(samples, encoding="utf-8")
    outcome = calibrate(replace(done.options, at_speed_of=done.out), out)
    first = profile_of(done).cpu.speed_probe
    assert first is not None
    assert outcome.samples.reference is not None
    assert outcome.samples.reference.speed_ns == float(first.value) * 1e9
    assert len(outcome.samples.reference.probes_ns) == 400
    with pytest.raises(InputError, match=r"--at-speed-of rtx-4090: does not say at what speed .*cpu\.speed_probe"):
        calibrate(replace(done.options, at_speed_of=Path("rtx-4090")), tmp_path / "third.yaml")


def test_a_device_that_is_not_probed(done: Done) -> None:
    """As CUDA: no figure, no share, sources as they were."""
    samples = done.outcome.samples
    taken = {
        name: replace(one, series=[replace(series, probes_ns=(), reference_ns=None) for series in one.series])
        for name, one in samples.taken.items()
    }
    bare = Samples(identity=samples.identity, taken=taken)
    device = open_device("cpu")
    _, offloaded = open_model(done.options.model, device, torch.float32, 0)
    subject = Subject(offloaded=offloaded, device=device, threads=1, cpu_workers=1, max_tokens=32, max_batch=2)
    calibrated = assemble(bare, done.outcome.facts, subject, name="bare")
    assert calibrated.counted_frac is None
    assert calibrated.profile.cpu.speed_probe is None
    assert [path for path, known in resolved_figures(calibrated.profile) if "probe" in known.source] == []
    assert "Speed of the machine" not in calibration_page(calibrated, done.outcome.facts, bare, {})


def test_other_points_are_measured_anew(done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples of a shorter grid do not stand for a longer one."""
    out = tmp_path / "longer.yaml"
    samples_path(out).write_text(samples_path(done.out).read_text(encoding="utf-8"), encoding="utf-8")
    taken: list[str] = []

    def stop(measurement: Measurement, *_: object) -> None:
        taken.append(measurement.name)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_take", stop)
    with pytest.raises(KeyboardInterrupt):
        calibrate(replace(done.options, max_tokens=48), out)
    assert taken == ["expert.alone"]
    assert not out.exists()


def test_samples_of_another_dtype_are_refused(done: Done, tmp_path: Path) -> None:
    """And stay as they are."""
    out = tmp_path / "other.yaml"
    before = samples_path(done.out).read_bytes()
    samples_path(out).write_bytes(before)
    with pytest.raises(InputError, match="dtype is 'bfloat16' now, was 'float32'"):
        calibrate(replace(done.options, dtype="bfloat16"), out)
    assert samples_path(out).read_bytes() == before
    assert not out.exists()


def test_nothing_of_the_process_is_left_changed() -> None:
    """Threads and the switch interval are put back, also after an error."""
    before = torch.get_num_threads(), sys.getswitchinterval()
    seen: list[tuple[int, float]] = []

    def fail() -> None:
        with quiet(2):
            seen.append((torch.get_num_threads(), sys.getswitchinterval()))
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert [threads for threads, _ in seen] == [2]
    assert [interval_s for _, interval_s in seen] == pytest.approx([1e-4])
    assert (torch.get_num_threads(), sys.getswitchinterval()) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"threads": 0}, "--threads: is 0"),
        ({"cpu_workers": 10_000}, "--cpu-workers: is 10000, but this process may use"),
        ({"dtype": "int8"}, "--dtype: is 'int8'"),
        ({"model": "lab-wid"}, "lab-wide"),
        ({"model": "./nowhere/config.json"}, "is no file, no folder and no shape that ships"),
        ({"device": "tpu"}, "tpu"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, change: Mapping[str, object], said: str) -> None:
    """Are refused before anything is built, in words that name the option."""
    options = replace(CalibrationOptions(device="cpu", model="lab-wide"), **change)  # type: ignore[arg-type]
    with pytest.raises(InputError) as raised:
        calibrate(options, tmp_path / "mine.yaml")
    assert said in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_there_are_not_lost(tmp_path: Path) -> None:
    """Neither a profile nor a page, nor a name that is no profile's."""
    options = CalibrationOptions(device="cpu", model="lab-wide")
    (tmp_path / "mine.yaml").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="add --overwrite"):
        calibrate(options, tmp_path / "mine.yaml")
    with pytest.raises(InputError, match=r"--page .* is there already"):
        calibrate(options, tmp_path / "other.yaml", page=tmp_path / "mine.yaml")
    with pytest.raises(InputError, match=r"should end in \.yaml"):
        calibrate(options, tmp_path / "profile")
    with pytest.raises(InputError, match="is a directory"):
        calibrate(options, tmp_path / "other.yaml", page=tmp_path)
    assert (tmp_path / "mine.yaml").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(("has_workers", "num_counting"), [(False, 2), (True, 0)])
def test_where_workers_compute_all_cores_count(has_workers: bool, num_counting: int) -> None:
    """The slow core of two is another one than that which computes."""
    speed = Speed(
        reference_ns=100, probe_ns=lambda: 100, settle=lambda: 100, settle_all=lambda: 150, waited_ns=lambda: 0
    )
    measurement = Measurement(
        name="one",
        title="One",
        grid=[{}],
        set_up=lambda: nullcontext(lambda _: {"time": 1e-4}),
        has_workers=has_workers,
    )
    effort = Effort(budget_s=1e-3, least_repeats=2, most_repeats=2, warmup=0)
    taken = run._take(measurement, effort, 0, speed, lambda _: None)
    assert sum(which_count(taken.series[0])) >= num_counting
    assert any(which_count(taken.series[0])) == bool(num_counting)
