"""`moesim plan SPACE.yaml`: the cheapest choice that keeps a promise, against a search by hand."""

import json
from pathlib import Path

import pytest
import yaml

from hardware_profiles.errors import InputError
from simulator.capacity.rate import at_rate
from simulator.cli import app
from simulator.plan.promise import Bound, parse_promise, shown
from simulator.plan.search import Choice, Found, search_space
from simulator.plan.search_report import search_sentences
from simulator.plan.search_space import read_space
from simulator.run import simulate
from simulator.scenario import build_scenario, read_scenario

ROOT = Path(__file__).parents[2]
PRICES = {"rtx-3060-12gb": 0.10, "rtx-4090": 0.35}
FRACS = {0.25: 0.01, 0.75: 0.03}
LIMIT_S = 0.00052


def _written(tmp_path: Path, **changed: object) -> Path:
    """Write a space of four choices over the service that ships, smaller."""
    scenario = read_scenario(ROOT / "examples" / "service.yaml")
    workload = scenario["workload"]
    assert isinstance(workload, dict)
    values: dict[str, object] = {
        "scenario": scenario | {"workload": workload | {"requests": 60}},
        "axes": {"hardware": list(PRICES), "cache.frac": list(FRACS)},
        "prices": {
            "hardware": {name: f"{price} USD/h" for name, price in PRICES.items()},
            "cache.frac": {str(frac): f"{price} USD/h" for frac, price in FRACS.items()},
        },
        "promise": {"most": {"tpot_p99_s": f"{LIMIT_S * 1e6:g} us"}},
    }
    path = tmp_path / "space.yaml"
    kept = {key: value for key, value in (values | changed).items() if value is not None}
    path.write_text(yaml.safe_dump(kept, sort_keys=False), encoding="utf-8")
    return path


def _searched(path: Path, store: Path | None = None) -> Found:
    space = read_space(path)
    return search_space(space, space.sweep.base, jobs=1, store=store)


def render(found: Found) -> str:
    """Return the answer's sentences."""
    return "\n".join(search_sentences(found))


def _place(choice: Choice) -> tuple[object, object]:
    return choice.point.labels["hardware"], choice.point.labels["cache.frac"]


def _tpot_s(base: dict[str, object], hardware: str, frac: float, factor: float | None = None) -> float:
    values = {**base, "hardware": hardware, "cache": {"frac": frac}}
    if factor is not None:
        values = at_rate(values, factor)
    found = simulate(build_scenario(values, "test")).summary["tpot_s"]
    assert isinstance(found, dict)
    return float(found["p99"])


def test_it_is_the_search_by_hand(tmp_path: Path) -> None:
    """Each choice run by itself: costs add up, the cheapest that keeps the bound is named, none beats one of the front."""
    path = _written(tmp_path)
    found = _searched(path)
    base = dict(read_space(path).sweep.base)
    by_hand = {
        (name, frac): (price + more, _tpot_s(base, name, frac))
        for name, price in PRICES.items()
        for frac, more in FRACS.items()
    }
    got = {_place(choice): choice for choice in found.choices}
    assert set(got) == set(by_hand)
    for place, (usd, tpot_s) in by_hand.items():
        assert got[place].usd_per_hour == pytest.approx(usd)
        assert got[place].figures["tpot_p99_s"] == tpot_s
    keeping = [usd for usd, tpot_s in by_hand.values() if tpot_s <= LIMIT_S]
    assert 0 < len(keeping) < 4
    assert found.cheapest is not None
    assert found.cheapest.usd_per_hour == pytest.approx(min(keeping))
    unbeaten = {
        place
        for place, (usd, tpot_s) in by_hand.items()
        if not any(
            (other, slower) != (usd, tpot_s) and other <= usd and slower <= tpot_s for other, slower in by_hand.values()
        )
    }
    assert set(map(_place, found.front)) == unbeaten


def test_what_breaks_first_breaks(tmp_path: Path) -> None:
    """The bound holds at the load that is said to be kept, and not at the other."""
    path = _written(tmp_path)
    found = _searched(path)
    assert found.cheapest is not None
    assert found.breaking is not None
    assert found.breaking.kept is not None
    assert found.breaking.not_kept is not None
    assert found.breaking.broken == ["tpot_p99_s"]
    labels, base = found.cheapest.point.labels, dict(read_space(path).sweep.base)
    name, frac = str(labels["hardware"]), float(str(labels["cache.frac"]))
    assert (
        _tpot_s(base, name, frac, found.breaking.kept) <= LIMIT_S < _tpot_s(base, name, frac, found.breaking.not_kept)
    )
    assert found.breaking.not_kept <= found.breaking.kept * 1.05


def test_a_store_gives_the_same(tmp_path: Path) -> None:
    """And nothing is run again."""
    path = _written(tmp_path)
    first = _searched(path, store=tmp_path / "store")
    stamps = {file: file.stat().st_mtime_ns for file in (tmp_path / "store").rglob("*.json")}
    assert len(stamps) > 4
    again = _searched(path, store=tmp_path / "store")
    assert again.choices == first.choices
    assert again.breaking == first.breaking
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "store").rglob("*.json")} == stamps


def test_a_closed_batch_has_its_tightest_bound(tmp_path: Path) -> None:
    """There is no load to raise; the price is the machine's own."""
    demo = read_scenario(ROOT / "examples" / "demo.yaml") | {"max_tokens": 60}
    demo["hardware_set"] = {"price.per_hour": "0.36 USD/h"}
    promise = {"most": {"itl_p99_s": "1 s"}, "least": {"hit_frac": 0.01}}
    path = _written(tmp_path, scenario=demo, axes={"cache.frac": [0.25, 0.75]}, prices=None, promise=promise)
    found = _searched(path)
    assert found.cheapest is not None
    assert found.cheapest.usd_per_hour == pytest.approx(0.36)
    assert found.breaking is not None
    assert (found.breaking.kept, found.breaking.broken) == (None, ["itl_p99_s"])
    assert found.cheapest.headroom["hit_frac"] > found.cheapest.headroom["itl_p99_s"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"promise": None}, "promise: is no promise; write"),
        ({"promise": {"most": {"tpot_p99_s": 80}}}, "promise: tpot_p99_s: 80"),
        (
            {"promise": {"at_most": {"tpot_p99_s": "80 ms"}}},
            "promise: at_most: unknown key; a promise has most and least",
        ),
        ({"promise": {"most": {"tpot_p99_s": "0 ms"}}}, "no limit; write one above 0"),
        ({"promise": {"most": {"tpot_p98_s": "1 ms"}}}, "promise: 'tpot_p98_s' is no metric"),
        ({"prices": {"gpu": {"a": "1 USD/h"}}}, "prices.gpu: is no axis with a list of values"),
        ({"prices": {"hardware": {"rtx-3060-12gb": "1 USD/h"}}}, "prices.hardware: rtx-4090 has none"),
        ({"prices": {"hardware": dict.fromkeys(PRICES, "1 USD")}}, "prices.hardware.rtx-4090: "),
        ({"prices": None}, "nobody says what hardware rtx-3060-12gb, cache.frac 0.25 costs"),
        ({"axes": None}, "axes: there are none"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, changed: dict[str, object], said: str) -> None:
    """With the key at fault, and what to write."""
    with pytest.raises(InputError) as told:
        _searched(_written(tmp_path, **changed))
    assert said in str(told.value)


def test_the_answer_on_the_terminal_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both name the same choice; where none keeps the promise, the closest."""
    path = _written(tmp_path)
    words = ["plan", str(path), "--jobs", "1", "--store", str(tmp_path / "store")]
    app([*words, "--json"], result_action="return_value")
    facts = json.loads(capsys.readouterr().out)
    app(words, result_action="return_value")
    told = capsys.readouterr().out
    labels = facts["cheapest"]["labels"]
    assert f"The cheapest is hardware {labels['hardware']}, cache.frac {labels['cache.frac']}" in told
    assert f"{sum(choice['keeps'] for choice in facts['choices'])} of 4 choices keep it" in told
    assert "times the load" in told
    app([*words, "--json", "--set", "seed=1"], result_action="return_value")
    other = json.loads(capsys.readouterr().out)
    assert other["choices"][0]["tpot_p99_s"] != facts["choices"][0]["tpot_p99_s"]
    assert "--set seed=1" in other["choices"][0]["command"]
    hopeless = _written(tmp_path, promise={"most": {"tpot_p99_s": "1 us"}})
    app(["plan", str(hopeless), *words[2:]], result_action="return_value")
    told = capsys.readouterr().out
    assert "0 of 4 choices keep it" in told
    assert "None does. The closest is" in told


def test_options_of_the_quick_plan_are_not_passed_over(tmp_path: Path) -> None:
    """Nor those of a search without a file."""
    for words in (
        ["plan", str(_written(tmp_path)), "--gpu", "rtx-4090"],
        ["plan", "--model", "mixtral-8x7b", "--jobs", "2"],
    ):
        with pytest.raises(InputError, match="goes with"):
            app(words, result_action="return_value")


def test_bounds() -> None:
    """Headroom is a share of the limit, on the side that is promised."""
    most, least = parse_promise({"most": {"ttft_p99_s": "2 s"}, "least": {"throughput_tokens_per_s": 20}})
    assert most == Bound(metric="ttft_p99_s", limit=2.0, is_most=True)
    assert (most.headroom(1.5), most.headroom(3)) == (0.25, -0.5)
    assert (least.headroom(25), least.headroom(10)) == (0.25, -0.5)
    assert (str(most), str(least)) == ("ttft_p99_s at most 2 s", "throughput_tokens_per_s at least 20")
    assert shown("cache_bytes", 2**30) == "1 GiB"


def test_the_example_is_a_space() -> None:
    """With a price for each of its choices."""
    space = read_space(ROOT / "examples" / "plan.yaml")
    assert space.stated_usd_per_hour({"hardware": "rtx-3090", "cache.frac": 0.5, "pcie": "gen5x16"}) == pytest.approx(
        0.27
    )


_SERVICE_AXES: dict[str, object] = {"hardware": list(PRICES), "cache.frac": list(FRACS), "seed": [1, 2, 3]}


def _large(tmp_path: Path, **changed: object) -> Path:
    """Write a space of twelve choices, of which eight are to be run."""
    return _written(tmp_path, **({"axes": _SERVICE_AXES, "search": {"choices": 8, "seed": 2}} | changed))


def test_a_large_space_is_run_in_part(tmp_path: Path) -> None:
    """So many choices, each once, and what is said of them is what a whole search says of the same ones."""
    pytest.importorskip("optuna", reason="optuna is not installed: pip install 'moesim[search]'")
    found = _searched(_large(tmp_path), store=tmp_path / "store")
    assert (found.size, len(found.choices)) == (12, 8)
    whole = _searched(_large(tmp_path, search=None), store=tmp_path / "store")
    of_all = {str(choice.point.labels): choice for choice in whole.choices}
    assert len({str(choice.point.labels) for choice in found.choices}) == 8
    assert all(choice == of_all[str(choice.point.labels)] for choice in found.choices)
    keeping = [choice.usd_per_hour for choice in found.choices if choice.keeps and choice.usd_per_hour is not None]
    assert found.cheapest is not None
    assert found.cheapest.usd_per_hour == min(keeping)
    assert "8 of" not in render(whole)
    assert "proposed out of 12" in render(found)


def test_a_part_is_the_same_with_more_processes(tmp_path: Path) -> None:
    """And where it is taken up again from its store."""
    pytest.importorskip("optuna", reason="optuna is not installed: pip install 'moesim[search]'")
    space = read_space(_large(tmp_path))
    one = search_space(space, space.sweep.base, jobs=1, store=tmp_path / "store")
    stamps = {file: file.stat().st_mtime_ns for file in (tmp_path / "store").rglob("*.json")}
    again = search_space(space, space.sweep.base, jobs=1, store=tmp_path / "store")
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "store").rglob("*.json")} == stamps
    two = search_space(space, space.sweep.base, jobs=2)
    assert one.choices == again.choices == two.choices
    assert one.breaking == again.breaking == two.breaking


def test_a_small_space_is_run_whole(tmp_path: Path) -> None:
    """Constraints make one small: no search is needed, nor Optuna."""
    path = _large(tmp_path, constraints=["seed <= 1"], search={"choices": 4})
    found = _searched(path)
    assert (found.size, len(found.choices)) == (4, 4)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"search": {"choices": 0}}, "search: choices: "),
        ({"search": {"trials": 3}}, "search: trials: "),
        ({"sample": {"points": 3}}, "sample and search are given; keep one"),
        ({"axes": _SERVICE_AXES | {"hardware": ["rtx-3060-12gb", "rtx-9999"]}, "prices": None}, "rtx-9999"),
        ({"constraints": ["seed > 3"]}, "constraints: leave none"),
    ],
)
def test_what_is_wrong_with_a_large_space_is_told(tmp_path: Path, changed: dict[str, object], said: str) -> None:
    """With the key at fault."""
    pytest.importorskip("optuna", reason="optuna is not installed: pip install 'moesim[search]'")
    with pytest.raises(InputError) as told:
        _searched(_large(tmp_path, **changed))
    assert said in str(told.value)


def test_the_page_has_all_choices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer in words, the command that asks again; the same bytes again."""
    path = _written(tmp_path)
    words = ["plan", str(path), "--jobs", "1", "--store", str(tmp_path / "store"), "--html"]
    for name in ("one.html", "two.html"):
        app([*words, str(tmp_path / name)], result_action="return_value")
    told = capsys.readouterr().out
    page = (tmp_path / "one.html").read_text(encoding="utf-8")
    assert page == (tmp_path / "two.html").read_text(encoding="utf-8")
    best = next(line for line in told.splitlines() if line.startswith("The cheapest is"))
    assert best.strip() in page
    assert f"moesim plan {path} --jobs 1 --store {tmp_path / 'store'}" in page
    assert f"page: {tmp_path / 'two.html'}" in told
