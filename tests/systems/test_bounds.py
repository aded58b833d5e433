"""What oracles reach on real routing, and what systems gain and lose against fetching on demand."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from simulator.eviction import EVICTION
from simulator.run import simulate
from simulator.scenario import build_scenario
from tests.systems.play import play
from tests.systems.test_every_system import RECORDED, write_slice

ONLINE = [name for name in EVICTION if name not in ("belady", "belady_bypass")]


@pytest.fixture(scope="module")
def slices(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Return four sequences of each recording as a trace."""
    folder = tmp_path_factory.mktemp("slices")
    return {model: write_slice(shared_data, folder, model) for model in RECORDED}


def summary_of(trace: Path, model: str, frac: float, **settings: object) -> Mapping[str, object]:
    """Run on a recording, the first two sequences set apart, the fourth token by token."""
    values = {
        "trace": str(trace),
        "model": model,
        "hardware": "rtx-4090",
        "cache": {"frac": frac},
        "fit": {"sequences": 2},
        "prefill_chunk_tokens": 1,
        "max_tokens": 30,
        **settings,
    }
    return simulate(build_scenario(values, model), source=model).summary


@pytest.mark.parametrize(
    ("scope", "frac"), [("per_layer", 0.25), ("per_layer", 0.5), ("global", 0.1), ("global", 0.25), ("global", 0.5)]
)
@pytest.mark.parametrize("model", RECORDED)
def test_belady_misses_least(model: str, frac: float, scope: str, slices: Mapping[str, Path]) -> None:
    """Of all policies that fetch on demand and keep what they have fetched. Where a layer has its working set of slots.

    Policies that give experts up before anyone wants their slot are no different: they hold less. (With a tenth of the
    experts per layer, the experts of one token go in waves, which Belady knows nothing of.)
    """
    cache = {"frac": frac, "scope": scope}
    misses = {name: summary_of(slices[model], model, frac, cache=cache, eviction=name)["misses"] for name in ONLINE}
    best = summary_of(slices[model], model, frac, cache=cache, eviction="belady")["misses"]
    assert isinstance(best, int)
    assert {name: count for name, count in misses.items() if isinstance(count, int) and count < best} == {}


@pytest.mark.parametrize("model", RECORDED)
@pytest.mark.parametrize("link", ["2 GB/s", "2000 GB/s"])
def test_a_perfect_prefetcher_is_bound_by_work_or_by_bytes(model: str, link: str, slices: Mapping[str, Path]) -> None:
    """With room for all experts and a far look ahead, the time is that of computing or that of the bytes, within 1 %.

    A first transfer and a last step cannot overlap with anything; they are taken off. Between the two, where neither
    dwarfs the other, experts come late at first, when all are missing, and the link is idle in the end.
    """
    summary = summary_of(
        slices[model],
        model,
        1.0,
        eviction="lru",
        prefetch={"name": "perfect", "lookahead_layers": 400},
        hardware_set={"link.h2d.bandwidth": link},
        max_tokens=25,
    )
    attribution = summary["attribution_ns"]
    assert isinstance(attribution, Mapping)
    work_ns = sum(attribution[cause] for cause in ("expert_compute", "non_expert_compute", "step_compute"))
    moved = sum(int(str(summary[f"h2d_{kind}_bytes"])) for kind in ("demand", "prefetch"))
    transfer_ns = int(str(summary["transfer_ns"]))
    bytes_ns = moved // int(str(summary["expert_bytes"])) * transfer_ns
    makespan_ns = int(str(summary["makespan_ns"]))
    bound_ns = max(work_ns, bytes_ns)
    assert bound_ns <= makespan_ns + transfer_ns
    step_ns = work_ns // int(str(summary["steps"]))
    assert makespan_ns - bound_ns <= 0.01 * bound_ns + transfer_ns + step_ns


@pytest.mark.parametrize("model", RECORDED)
@pytest.mark.parametrize("frac", [0.25, 0.5])
def test_buddymoe_saves_what_it_pays_for(model: str, frac: float, slices: Mapping[str, Path]) -> None:
    """Against the same cache without buddies it waits less, and says that substitutes were unlike what was wanted."""
    on_demand = summary_of(slices[model], model, frac, placement="popular", eviction="lfu")
    buddies = summary_of(slices[model], model, frac, system="buddymoe")
    stall_ns, less_ns = (_stall_ns(summary) for summary in (on_demand, buddies))
    loss = buddies["loss"]
    assert isinstance(loss, Mapping)
    assert less_ns < stall_ns
    assert loss["unlike_mass_frac"] > 0


@pytest.mark.parametrize("num_tokens", [1, 2, 20, 34, 35, 60])
@pytest.mark.parametrize("cpu_us", [50, 400, 1090])
def test_cpu_or_fetch_is_the_better_of_both(num_tokens: int, cpu_us: int) -> None:
    """One layer, one expert: the closed form 200 + min(c + 20 n, 1000 + 100) + 50, on both sides of where they cross."""
    machine = {"durations.cpu_expert": {"constant": f"{cpu_us} us", "kind": "assumed", "source": "stated"}}
    prompt = [[[0]]] * num_tokens

    def makespan_us(system: str, miss: str | None = None) -> float:
        played = play(system, prompt, prompts=[num_tokens], cache={"experts": 1}, hardware_set=machine, miss=miss)
        return int(str(played.summary["makespan_ns"])) / 1000

    on_cpu, fetched, chosen = (
        makespan_us("on_demand", miss="cpu"),
        makespan_us("on_demand"),
        makespan_us("fiddler"),
    )
    assert (on_cpu, fetched) == (250 + cpu_us + 20 * num_tokens, 250 + 1100)
    assert chosen == min(on_cpu, fetched)
    assert (chosen < fetched) == (cpu_us + 20 * num_tokens < 1100)


def _stall_ns(summary: Mapping[str, object]) -> int:
    attribution = summary["attribution_ns"]
    assert isinstance(attribution, Mapping)
    return sum(value for cause, value in attribution.items() if cause.startswith(("exposed", "queued")))
