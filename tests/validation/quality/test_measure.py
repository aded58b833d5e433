"""What is measured of the shipped model: nothing where nothing is lost, the simulator's masses where something is."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("scipy")

from traces.nano import MODEL, PROMPTS  # noqa: E402
from validation.quality import measure as module  # noqa: E402
from validation.quality.configurations import Configuration, default_configurations  # noqa: E402
from validation.quality.measure import Measured, measure  # noqa: E402
from validation.quality.result import kind_of, mass_of  # noqa: E402
from validation.quality.texts import Texts, read_texts  # noqa: E402
from validation.runtime.device import CpuDevice  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch and transformers, about themselves

SEGMENTS, TOKENS = 3, 20
POPULAR = {"cache": {"frac": 0.25}, "placement": "popular"}
LOSSLESS = [
    Configuration(name="fetch", settings={"cache": {"frac": 0.25}}),
    Configuration(name="cpu", settings={"cache": {"frac": 0.125}, "miss": "cpu"}),
    Configuration(name="lookahead", settings={"cache": {"frac": 0.5}, "prefetch": "gate_lookahead"}),
]
LATE = [
    Configuration(name="drop", settings={"cache": {"frac": 0.25}, "miss": "tests.validation.quality.late:DropLate"}),
    Configuration(name="mask", settings={**POPULAR, "miss": "tests.validation.quality.late:MaskedLate"}),
    Configuration(
        name="low",
        settings={
            "cache": {"frac": 0.25},
            "miss": "tests.validation.quality.late:LowLate",
            "low_precision": {"format": "2 bit", "frac": 0.25},
        },
    ),
]


@pytest.fixture(scope="module")
def texts() -> Texts:
    """Return short segments of the shipped prompts."""
    return read_texts(str(MODEL), PROMPTS, None, segment_tokens=TOKENS, segments=SEGMENTS, learn_segments=2)


def run(texts: Texts, configurations: list[Configuration], folder: Path, *, side_by_side: int = 2) -> Measured:
    """Measure on the CPU."""
    return measure(str(MODEL), texts, configurations, folder, CpuDevice(), side_by_side=side_by_side)


def test_nothing_is_lost_where_no_policy_loses(texts: Texts, tmp_path: Path) -> None:
    """Perplexity is that of the whole model to 1e-5, no mass is lost, and no token is routed otherwise."""
    measured = run(texts, LOSSLESS, tmp_path)
    for row in measured.rows:
        assert kind_of(row) == "none"
        assert np.exp(np.array(row["ln_ratio"])) == pytest.approx(np.ones(SEGMENTS), abs=1e-5)
        assert row["routed_otherwise_frac"] == 0
    assert len(measured.reference_losses) == SEGMENTS


def test_masses_are_the_simulators_where_the_routing_is_the_same(texts: Texts, tmp_path: Path) -> None:
    """But for the recorded weights' sixteen bits; the output changes all the same."""
    for row in run(texts, LATE, tmp_path).rows:
        assert row["routed_otherwise_frac"] == 0
        assert np.abs(np.array(row["ln_ratio"])).max() > 1e-4
        for kind in ("dropped", "substituted", "unlike", "low_precision", "substituted_strongest"):
            counted, simulated = mass_of(row, kind, of="masses"), mass_of(row, kind)
            assert counted == pytest.approx(simulated, rel=2e-3), kind
    assert {kind_of(row) for row in run(texts, LATE, tmp_path).rows} == {
        "dropped",
        "substituted",
        "low_precision 2 bit",
    }


def test_the_threaded_runtime_computes_the_same(texts: Texts, tmp_path: Path) -> None:
    """A session with its copy thread, one token at a time, loses what was measured."""
    from simulator.miss import MISS
    from traces.capture.loading import find_auto_class, load_network
    from validation.quality.reference import token_losses
    from validation.runtime.offload import offload
    from validation.runtime.session import Session

    drop = Configuration(name="drop", settings={"cache": {"frac": 0.25}, "miss": "drop"})
    reference = run(texts, [drop], tmp_path)
    auto = find_auto_class(str(MODEL), trust_remote_code=False)
    network = load_network(auto, str(MODEL), dtype="float32", device="cpu", trust_remote_code=False)
    with offload(network, CpuDevice()) as offloaded:
        for number, segment in enumerate(texts.evaluated):
            ids, context, logits = torch.tensor([segment]), None, []
            with Session(offloaded, CpuDevice(), num_slots=64, miss=MISS["drop"]), torch.inference_mode():
                for place in range(TOKENS):
                    output = network(input_ids=ids[:, place : place + 1], past_key_values=context, use_cache=True)
                    context = output.past_key_values
                    logits.append(output.logits[0, -1])
            loss = token_losses(torch.stack(logits), ids[0, 1:]).mean()
            expected = reference.rows[0]["ln_ratio"]
            assert isinstance(expected, list)
            assert loss - reference.reference_losses[number] == pytest.approx(expected[number], abs=1e-5)


def test_segments_side_by_side_change_nothing(texts: Texts, tmp_path: Path) -> None:
    """Each has its own cache and policies."""
    drop = [Configuration(name="drop", settings={"cache": {"frac": 0.25}, "miss": "drop"})]
    one, all_ = (run(texts, drop, tmp_path / str(count), side_by_side=count).rows[0] for count in (1, SEGMENTS))
    assert one["masses"] == all_["masses"]
    assert np.array(one["ln_ratio"]) == pytest.approx(np.array(all_["ln_ratio"]), abs=1e-5)


def test_what_was_measured_is_kept(texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that was interrupted goes on; other settings are measured afresh."""

    class KilledError(Exception):
        """Stands for a kill."""

    def interrupt(done: int, total: int, name: str) -> None:
        del total, name
        if done == 1:
            raise KilledError

    first = LOSSLESS[:2]
    with pytest.raises(KilledError):
        measure(str(MODEL), texts, first, tmp_path, CpuDevice(), side_by_side=SEGMENTS, progress=interrupt)
    assert len(list((tmp_path / "kept").iterdir())) == 1
    evaluated = []
    evaluate = module.evaluate

    def counted(scenarios: list[object], *args: object, **kwargs: object) -> object:
        evaluated.append(len(scenarios))
        return evaluate(scenarios, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "evaluate", counted)
    whole = run(texts, first, tmp_path)
    assert evaluated == [SEGMENTS]
    assert run(texts, first, tmp_path) == whole
    assert evaluated == [SEGMENTS]
    changed = [first[0], replace(first[1], settings={"cache": {"frac": 0.5}})]
    run(texts, changed, tmp_path)
    assert evaluated == [SEGMENTS, SEGMENTS]


def test_the_configurations_have_names_of_their_own() -> None:
    """And settings that JSON can hold; the first loses nothing."""
    configurations = default_configurations()
    assert len({one.name for one in configurations}) == len(configurations)
    assert configurations[0].settings["miss"] == {"name": "fetch"}
    for one in configurations:
        assert json.loads(json.dumps(dict(one.settings))) == one.settings
