"""Validate: simulate every configuration of a suite, replay each several times, and keep both.

First come the traces of all models, then all simulations (a fault shows before hours of replays), then, model by model,
the replays that are not on disk yet. They go round by round over all configurations of a model, each round in a random
order of its own, so that a drift of the machine spreads over all of them. The first replay after a model has been built
is thrown away: it pays for memory that is touched for the first time.

Limits: the replays of two models are not mixed, because both need not fit into memory at once.
"""

import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from simulator.merged_timeline import merge_timelines
from validation.compare.metrics import error_frac
from validation.compare.replaying import Backend, Replay, Replayed, ReplayFolder, Stored
from validation.compare.simulate import CalibratedProfile, simulate_configuration
from validation.compare.simulations import Simulated, simulate_suite
from validation.compare.suite import Configuration, Suite, SuiteModel
from validation.compare.workload import prepare_trace

Progress = Callable[[int, int, str], None]
"""Called with (replays done, replays in all, what is run now)."""
TRACES, REPLAYS, TIMELINES = "traces", "replays", "timelines"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A configuration both ways."""

    simulated: Simulated
    replays: Sequence[Stored]


def validate(
    suite: Suite,
    profiles: Sequence[CalibratedProfile],
    backend: Backend,
    folder: Path,
    *,
    all_timelines: bool = False,
    progress: Progress | None = None,
) -> list[Compared]:
    """Return every configuration of `suite` both ways, going on with what is in `folder` already.

    `suite` has been read with `folder / TRACES` for its traces. A timeline of both runs is written for the configuration of
    each model with the largest error, or for all. Raises InputError and TraceError.
    """
    for name in dict.fromkeys(configuration.model_name for configuration in suite.configurations):
        prepare_trace(name, suite.models[name], folder / TRACES / f"{name}.safetensors", backend.record)
    simulations = simulate_suite(suite, profiles)
    stored = ReplayFolder(folder / REPLAYS, device_name=backend.device_name)
    for configuration in suite.configurations:
        stored.read(configuration, suite.repeats)  # for its check
    tell = _Teller(suite, stored, progress)
    compared: dict[str, Compared] = {}
    for name, model in suite.models.items():
        own = [item for item in simulations if item.configuration.model_name == name]
        with _OnDemand(backend, name, model) as replay:
            for configuration, number in replay_order(suite, [item.configuration for item in own], stored):
                tell.begins(configuration)
                stored.write(configuration, number, replay(configuration, None))
                tell.ended()
            of_model = [Compared(simulated=s, replays=stored.read(s.configuration, suite.repeats)) for s in own]
            for item in of_model if all_timelines else of_model and [worst(of_model)]:
                _write_timeline(item.simulated, replay, folder / TIMELINES)
        compared |= {item.simulated.configuration.id: item for item in of_model}
    return [compared[configuration.id] for configuration in suite.configurations]


def replay_order(
    suite: Suite, configurations: Sequence[Configuration], stored: ReplayFolder
) -> list[tuple[Configuration, int]]:
    """Return the replays of one model that are missing: by rounds, each in an order that the suite's seed gives."""
    order = []
    for number in range(suite.repeats):
        shuffled = list(configurations)
        random.Random(f"{suite.seed} {number}").shuffle(shuffled)
        order += [(configuration, number) for configuration in shuffled if not stored.has(configuration, number)]
    return order


def worst(compared: Sequence[Compared]) -> Compared:
    """Return the configuration with the largest error of TPOT."""
    return max(compared, key=lambda item: abs(error_frac(item.simulated.summary, item.replays)))


def timeline_path(folder: Path, configuration: Configuration) -> Path:
    """Return where the timeline of a configuration lies."""
    return folder / f"{configuration.id}.json.gz"


def _write_timeline(simulated: Simulated, replay: Replay, folder: Path) -> None:
    """Write one timeline of both runs, unless it is there; the replay is one more, and not measured."""
    path = timeline_path(folder, simulated.configuration)
    if path.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".moesim-", dir=folder) as temporary:
        parts = {name: Path(temporary) / f"{name}.json.gz" for name in ("simulated", "measured")}
        simulate_configuration(simulated.configuration, simulated.profile, parts["simulated"])
        replay(simulated.configuration, parts["measured"])
        merge_timelines(path, list(parts.items()))


class _OnDemand:
    """A replay whose model is built when the first is asked for. A context manager; leaving it frees the model."""

    def __init__(self, backend: Backend, name: str, model: SuiteModel) -> None:
        self._backend, self._name, self._model = backend, name, model
        self._stack = ExitStack()
        self._replay: Replay | None = None

    def __call__(self, configuration: Configuration, path: Path | None) -> Replayed:
        if self._replay is None:
            self._replay = self._stack.enter_context(self._backend.open(self._name, self._model))
            self._replay(configuration, None)
        return self._replay(configuration, path)

    def __enter__(self) -> "_OnDemand":
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()


class _Teller:
    """Keep count of the replays, those of earlier calls included."""

    def __init__(self, suite: Suite, stored: ReplayFolder, progress: Progress | None) -> None:
        rounds = range(suite.repeats)
        self._num_done = sum(stored.has(item, number) for item in suite.configurations for number in rounds)
        self._total = suite.repeats * len(suite.configurations)
        self._progress = progress

    def begins(self, configuration: Configuration) -> None:
        if self._progress is not None:
            self._progress(self._num_done, self._total, configuration.id)

    def ended(self) -> None:
        self._num_done += 1


