"""Validation on a device that is none: order, resumption, timelines, the report."""

import gzip
import json
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hardware_profiles.errors import InputError
from tests.validation.compare.fake import NAME, PROBE_NS, FakeBackend, fill, probed_profiles, profiles
from traces.format import open_trace
from validation.compare.metrics import count_of
from validation.compare.page import report_page
from validation.compare.report import build_report
from validation.compare.simulate import read_profile, scenario_of, simulate_configuration
from validation.compare.simulations import profile_of
from validation.compare.suite import Suite, read_suite
from validation.compare.tables import replayed_text
from validation.compare.validate import REPLAYS, TIMELINES, TRACES, Compared, validate
from validation.compare.workload import prepare_trace
from validation.runtime.patience import Patience


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder with a suite and its profiles."""
    fill(tmp_path)
    return tmp_path


def suite_of(place: Path) -> Suite:
    """Read the suite, its traces to go to `place / "out"`."""
    return read_suite(place / "suite.yaml", trace_folder=place / "out" / TRACES)


def run(place: Path, backend: FakeBackend, *, all_timelines: bool = False) -> list[Compared]:
    """Validate into `place / "out"`."""
    return validate(suite_of(place), profiles(place), backend, place / "out", all_timelines=all_timelines)


def test_rounds_go_over_all_configurations_of_a_model(place: Path) -> None:
    """One replay is thrown away; then each round holds each configuration once, in orders that differ."""
    backend = FakeBackend(folder=place)
    compared = run(place, backend)
    assert [len(item.replays) for item in compared] == [3] * 9
    log = backend.log
    assert log[0] == "record own"
    begin, end = log.index("open forced"), log.index("close forced")
    replayed = [entry for entry in log[begin + 1 : end] if "timeline" not in entry]
    assert replayed[0] == replayed[1], "the first is run once more, to be thrown away"
    rounds = [replayed[1:][start : start + 5] for start in (0, 5, 10)]
    assert len(replayed) == 16
    assert [len(set(one)) for one in rounds] == [5, 5, 5]
    assert len({tuple(one) for one in rounds}) > 1
    assert log.count("open own") == 1


def test_an_interrupted_run_goes_on(place: Path) -> None:
    """Each replay is on disk when it ends; none of them is run again, and the models are not built for nothing."""
    first = FakeBackend(folder=place, stop_at=8)
    with pytest.raises(KeyboardInterrupt):
        run(place, first)
    assert len(list((place / "out" / REPLAYS).rglob("*.json"))) == 7, "eight ran, the first was thrown away"
    second = FakeBackend(folder=place)
    run(place, second)
    assert "record own" not in second.log
    counts = Counter(entry for entry in first.log + second.log if entry.startswith("forced"))
    replayed = sum(count for entry, count in counts.items() if "timeline" not in entry)
    assert replayed == 15 + 2, "each call throws its first away"
    third = FakeBackend(folder=place)
    run(place, third)
    assert third.log == []


def test_replays_of_something_else_are_refused(place: Path) -> None:
    """A configuration that has changed, or another device, is not taken for what was measured."""
    run(place, FakeBackend(folder=place))
    suite = suite_of(place)
    changed = replace(suite, configurations=[replace(item, max_tokens=11) for item in suite.configurations])
    with pytest.raises(InputError, match="is a replay on another device, of another trace, or of what forced_c25"):
        validate(changed, profiles(place), FakeBackend(folder=place), place / "out")
    with pytest.raises(InputError, match="name another folder, or delete it"):
        run(place, FakeBackend(folder=place, device_name="another"))
    text = (place / "suite.yaml").read_text(encoding="utf-8")
    (place / "suite.yaml").write_text(text.replace("output_tokens: 6", "output_tokens: 5"), encoding="utf-8")
    with pytest.raises(InputError, match="holds other sequences of forced than the suite asks for"):
        run(place, FakeBackend(folder=place))


def test_a_suite_that_has_moved_is_the_same(place: Path) -> None:
    """With its models, traces and replays: nothing is run again."""
    run(place, FakeBackend(folder=place))
    moved = place.rename(place.with_name("moved"))
    backend = FakeBackend(folder=moved)
    assert len(run(moved, backend)) == 9
    assert [entry for entry in backend.log if "record" in entry or "c25" in entry] == []


def test_a_torn_replay_is_refused(place: Path) -> None:
    """With the file, and what to do."""
    run(place, FakeBackend(folder=place))
    path = next((place / "out" / REPLAYS).rglob("1.json"))
    path.write_text(path.read_text(encoding="utf-8")[:40], encoding="utf-8")
    with pytest.raises(InputError, match=r"1\.json: is not a replay that moesim wrote .*; delete it"):
        run(place, FakeBackend(folder=place))


@pytest.mark.parametrize("everything", [False, True])
def test_timelines_hold_both_runs(place: Path, everything: bool) -> None:
    """Of the worst configuration of each model, or of all; one process each."""
    run(place, FakeBackend(folder=place), all_timelines=everything)
    found = sorted((place / "out" / TIMELINES).iterdir())
    assert len(found) == (9 if everything else 2)
    with gzip.open(found[0], "rt", encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    named = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert named == {1: "simulated", 2: "measured"}
    assert {event["pid"] for event in events} == {1, 2}


def report_of(place: Path, backend: FakeBackend) -> dict[str, Any]:
    """Return the report of a run."""
    report = build_report(suite_of(place), run(place, backend), profiles(place), device="cpu", device_name=NAME)
    read_back: dict[str, Any] = json.loads(json.dumps(report, allow_nan=False))
    return read_back


def test_errors_are_those_of_the_device(place: Path) -> None:
    """A device ten percent slower is simulated 1 - 1/1.1 too fast; its counts are the same."""
    report = report_of(place, FakeBackend(folder=place, slower=1.1, noise=0.0))
    errors = report["summary"]["all"]
    for key in ("median", "p90", "max"):
        assert errors[f"tpot_error_{key}_frac"] == pytest.approx(1 - 1 / 1.1)
    assert errors["tpot_error_signed_mean_frac"] == pytest.approx(1 / 1.1 - 1)
    assert (errors["configurations"], errors["within_spread"], errors["counts_equal"]) == (9, 0, 9)
    assert errors["counts_within_1_point"] == 9
    assert (errors["within_4_percent"], errors["within_8_percent"]) == (0, 0)
    for row in report["configurations"]:
        measured, simulated = row["measured"], row["simulated"]
        assert sum(measured["attribution_s_per_token"].values()) == pytest.approx(
            1.1 * sum(simulated["attribution_s_per_token"].values())
        )
        assert measured["misses"] == simulated["misses"]
        assert measured["accesses"] == simulated["accesses"] > 0
        assert row["spread"]["counts_repeat"]
        assert row["counts_off_frac"] == 0


def test_counts_that_are_off_are_told(place: Path) -> None:
    """By the largest of the three, as a share of the accesses, over all steps; more than a point is not within a point."""
    backend = FakeBackend(folder=place)
    items = run(place, backend)
    for moved, is_within in ((0.0, True), (0.004, True), (0.02, False)):
        rows = []
        for item in items:
            replays = []
            for replay in item.replays:
                summary = dict(replay.summary)
                shift = round(moved * count_of(summary, "accesses"))
                summary |= {
                    "hits": count_of(summary, "hits") + shift,
                    "late_hits": count_of(summary, "late_hits") - shift,
                }
                replays.append(replace(replay, summary=summary))
            rows.append(replace(item, replays=replays))
        report = build_report(suite_of(place), rows, profiles(place), device="cpu", device_name=NAME)
        for item, row in zip(items, report["configurations"], strict=True):  # type: ignore[call-overload]
            accesses = count_of(item.replays[0].summary, "accesses")
            assert row["counts_off_all_frac"] == round(moved * accesses) / accesses
            assert row["counts_off_frac"] == 0, "the steps have not moved"
            assert row["counts_equal"] == (round(moved * accesses) == 0)
        errors = report["summary"]["all"]  # type: ignore[index]
        assert errors["all_counts_within_1_point"] == (9 if is_within else 0)
        assert errors["counts_within_1_point"] == 9


def test_the_replays_say_of_which_commit_they_are(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a run goes on after the code has changed: each is counted where it belongs."""
    for commit, stop_at in (("a" * 40, 10), ("b" * 40, None)):
        monkeypatch.setattr(
            "validation.compare.replaying.commit_facts", lambda commit=commit: {"id": commit, "is_dirty": False}
        )
        with suppress(KeyboardInterrupt):
            report = report_of(place, FakeBackend(folder=place, stop_at=stop_at))
    assert {entry["commit"]["id"][0]: entry["replays"] for entry in report["replays_of"]} == {"a": 9, "b": 18}
    assert all(entry["first"] <= entry["last"] <= report["date"] for entry in report["replays_of"])
    told = replayed_text(report)
    assert "9 replays, " in told
    assert "commit bbbbbbbbbbbb" in told
    assert report_page(report).count("aaaaaaaaaaaa") == 1


def test_spread_and_groups(place: Path) -> None:
    """With noise about the truth, errors lie within the repeats' range; groups divide the configurations."""
    report = report_of(place, FakeBackend(folder=place, slower=1.0, noise=0.2))
    rows, summary = report["configurations"], report["summary"]
    for row in rows:
        values, simulated = row["spread"]["tpot_s"], row["simulated"]["tpot_s"]
        assert row["within_spread"] == (min(values) <= simulated <= max(values))
        spread = row["spread"]
        edges = ("min", "first_quartile", "third_quartile", "max")
        ordered = [spread[f"{edge}_frac"] for edge in edges]
        assert ordered == sorted(ordered)
        assert ordered[0] < 0 < ordered[-1]
    assert 0 < summary["all"]["within_spread"] <= 9
    assert {name: group["configurations"] for name, group in summary["by_model"].items()} == {"forced": 5, "own": 4}
    assert {name: group["configurations"] for name, group in summary["by_prefetch"].items()} == {
        "demand only": 8,
        "perfect": 1,
    }
    for key in ("by_model", "by_eviction", "by_prefetch", "by_miss", "by_batch"):
        assert sum(group["configurations"] for group in summary[key].values()) == 9


def test_each_profile_is_held_against_the_other_model(place: Path) -> None:
    """From the same replays; with fixed durations the prediction is that of the model's own profile."""
    report = report_of(place, FakeBackend(folder=place))
    crossed = report["cross"]["configurations"]
    assert {(row["model"], row["profile_of"]) for row in crossed} == {("forced", "own"), ("own", "forced")}
    own = {row["id"]: row["tpot_error_frac"] for row in report["configurations"]}
    assert {row["id"]: row["tpot_error_frac"] for row in crossed} == own


def test_a_report_says_what_it_was_made_with(place: Path) -> None:
    """Machine, versions, commit, profiles; the profile is all there."""
    report = report_of(place, FakeBackend(folder=place))
    assert report["machine"]["cores"] >= 1
    assert {"python", "moesim", "torch", "transformers"} <= set(report["versions"])
    assert set(report["commit"]) == {"id", "is_dirty"}
    assert [profile["measured_on"] for profile in report["profiles"]] == ["forced", "own"]
    assert report["profiles"][0]["profile"]["gpu"]["name"] == NAME
    assert len(report["profiles"][0]["sha256"]) == 64


def test_the_page_needs_nothing_else(place: Path) -> None:
    """No address to fetch from outside the script that it brings; every configuration is in its table, escaped."""
    report = report_of(place, FakeBackend(folder=place))
    report["description"] = "<script>alert(1)</script>"
    page = report_page(report)
    own = page.replace(_plotly(), "")
    assert "://" not in own.replace("http://www.w3.org", "")
    assert "<script>alert" not in own
    for row in report["configurations"]:
        assert f'<td data-value="{row["id"]}">' in own
    assert "Predicted with a profile calibrated on the other model" in own
    assert "prefers-color-scheme" in own
    assert 'name="viewport"' in own


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    text: str = get_plotlyjs()
    return text


def test_a_throttle_is_the_link(place: Path) -> None:
    """Bandwidth and latency of the configuration replace what the profile says of the link, transfer times included."""
    suite = suite_of(place)
    forced = suite.configurations[0]
    prepare_trace("forced", suite.models["forced"], forced.trace, FakeBackend(folder=place).record)
    profile = profiles(place)[0]
    summary: Any = simulate_configuration(forced, profile).summary
    expert_bytes = 3 * 64 * 32 * 4
    assert summary["expert_bytes"] == expert_bytes
    assert summary["transfer_ns"] == 50_000 + expert_bytes // 2
    free = replace(forced, bandwidth_bytes_per_s=None, latency_s=0.0)
    unthrottled: Any = simulate_configuration(free, profile).summary
    assert unthrottled["transfer_ns"] == 1_000_000, "the profile's own"
    assert scenario_of(forced, profile).quantisation.experts == "fp32"


def test_a_profile_of_another_device_is_refused(place: Path) -> None:
    """And one that is missing for a model."""
    with pytest.raises(InputError, match="was measured on 'a processor', but the device is 'another'"):
        read_profile(place / "forced.yaml", measured_on=None, device_name="another")
    with pytest.raises(InputError, match="names no profile for own"):
        profile_of("own", profiles(place)[:1])


def test_sequences_are_cut_out_of_a_trace(place: Path) -> None:
    """The end of the prompt and what follows it, of the first sequences that are long enough."""
    suite = suite_of(place)
    target = suite.configurations[0].trace
    prepare_trace("forced", suite.models["forced"], target, FakeBackend(folder=place).record)
    cut, whole = open_trace(target), open_trace(place / "t.safetensors")
    assert cut.sequence_start.tolist() == [0, 7, 14, 21]
    assert cut.prompt_tokens.tolist() == [1, 1, 1]
    for index, start in enumerate([1, 10, 18]):  # the prompts have two tokens, of which the last is kept
        assert (cut.expert_ids(7 * index, 7 * index + 7) == whole.expert_ids(start, start + 7)).all()
    with pytest.raises(InputError, match=r"asks for 4 sequences of 1 prompt tokens and 6 more; .* has 3"):
        prepare_trace(
            "forced",
            replace(suite.models["forced"], sequences=4),
            place / "other.safetensors",
            FakeBackend(folder=place).record,
        )


def test_a_run_too_short_to_measure_is_refused(place: Path) -> None:
    """Before any replay."""
    suite = suite_of(place)
    short = replace(suite, configurations=[replace(suite.configurations[0], max_tokens=1)])
    backend = FakeBackend(folder=place)
    with pytest.raises(InputError, match="leaves no time between two tokens"):
        validate(short, profiles(place), backend, place / "out")
    assert backend.num_replays == 0


def test_replays_wait_until_the_machine_is_as_fast_as_calibrated(place: Path) -> None:
    """Before the first one here, for three pauses; a profile that does not tell its speed is not waited for."""
    log: list[str] = []
    pauses: list[float] = []

    def slow_at_first() -> float:
        return PROBE_NS * (1 if len(pauses) >= 3 else 2)

    backend = FakeBackend(folder=place, slow_frac=0)
    validate(
        suite_of(place),
        probed_profiles(place),
        backend,
        place / "out",
        patience=Patience(60, probe_ns=slow_at_first, clock=lambda: float(sum(pauses)), sleep=pauses.append),
        progress=lambda done, total, name: log.append(f"{done} of {total}: {name}"),
    )
    assert pauses == [1, 1, 1]
    assert log[0] == "0 of 27: waiting until the machine is as fast as when it was calibrated"
    assert sum("waiting" in entry for entry in log) == 1
    validate(
        suite_of(place),
        profiles(place),
        FakeBackend(folder=place),
        place / "other",
        patience=Patience(60, probe_ns=lambda: pytest.fail("a probe")),
    )
