"""Validate: simulate every configuration of a suite, replay each several times, and keep both.

First come the traces of all models, then all simulations (a fault shows before hours of replays), then, model by model,
the replays that are not on disk yet. They go round by round over all configurations of a model, each round in a random
order of its own, so that a drift of the machine spreads over all of them. Before each replay, patience waits for the speed
of the profile. Configurations of which too few steps ran at it get further rounds, up to as many again. The first replay
after a model has been built is thrown away: it pays for memory that is touched for the first time.

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
from validation.compare.simulations import Simulated, Simulation, simulate_suite
from validation.compare.steady import SteadySteps, compare_steady, has_too_few
from validation.compare.suite import Configuration, Suite, SuiteModel
from validation.compare.workload import prepare_trace
from validation.runtime.patience import Patience

Progress = Callable[[int, int, str], None]
"""Called with (replays done, replays in all, what is run now); further rounds add to the replays in all."""
TRACES, REPLAYS, TIMELINES = "traces", "replays", "timelines"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A configuration both ways."""

    simulated: Simulated
    replays: Sequence[Stored]

    def steady(self, simulation: Simulation | None = None) -> SteadySteps:
        """Return how far a simulation, by default that with the model's profile, is from its steady steps."""
        simulation = self.simulated.own if simulation is None else simulation
        return compare_steady(
            simulation.steps,
            self.replays,
            warmup_steps=self.simulated.configuration.warmup_steps,
            reference_ns=simulation.profile.speed_probe_ns,
            has_cpu_experts=simulation.has_cpu_experts,
            is_crowded=simulation.is_crowded,
        )


def validate(
    suite: Suite,
    profiles: Sequence[CalibratedProfile],
    backend: Backend,
    folder: Path,
    *,
    all_timelines: bool = False,
    patience: Patience | None = None,
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
        stored.read(configuration, _most_rounds(suite))  # for its check
    tell = _Teller(suite, stored, progress)
    compared: dict[str, Compared] = {}
    for name, model in suite.models.items():
        own = [item for item in simulations if item.configuration.model_name == name]
        speed_ns = own[0].own.profile.speed_probe_ns if own else None
        with _OnDemand(backend, name, model) as replay:
            for number in range(_most_rounds(suite)):
                if is_further := number >= suite.repeats:
                    lacking = [item for item in _compared(suite, own, stored) if has_too_few(item.steady())]
                    wanted = [item.simulated.configuration for item in lacking]
                else:
                    wanted = [item.configuration for item in own]
                missing = missing_replays(suite, wanted, number, stored)
                if is_further:
                    tell.adds(len(missing))
                for configuration in missing:
                    if patience is not None and speed_ns is not None:
                        patience.wait_for(speed_ns, tell.waits)
                    tell.begins(configuration, number)
                    stored.write(configuration, number, replay(configuration, None))
                    tell.ended()
            of_model = _compared(suite, own, stored)
            for item in of_model if all_timelines else of_model and [worst(of_model)]:
                _write_timeline(item.simulated, replay, folder / TIMELINES)
        compared |= {item.simulated.configuration.id: item for item in of_model}
    return [compared[configuration.id] for configuration in suite.configurations]


def missing_replays(
    suite: Suite, configurations: Sequence[Configuration], number: int, stored: ReplayFolder
) -> list[Configuration]:
    """Return those of which a round is missing, in an order that the suite's seed gives."""
    shuffled = list(configurations)
    random.Random(f"{suite.seed} {number}").shuffle(shuffled)
    return [configuration for configuration in shuffled if not stored.has(configuration, number)]


def worst(compared: Sequence[Compared]) -> Compared:
    """Return the configuration with the largest error, of its steady steps if it has any."""

    def error(item: Compared) -> float:
        steady_frac = item.steady().error_frac
        return abs(error_frac(item.simulated.own.summary, item.replays) if steady_frac is None else steady_frac)

    return max(compared, key=error)


def timeline_path(folder: Path, configuration: Configuration) -> Path:
    """Return where the timeline of a configuration lies."""
    return folder / f"{configuration.id}.json.gz"


def _most_rounds(suite: Suite) -> int:
    return 2 * suite.repeats


def _compared(suite: Suite, simulated: Sequence[Simulated], stored: ReplayFolder) -> list[Compared]:
    return [Compared(simulated=one, replays=stored.read(one.configuration, _most_rounds(suite))) for one in simulated]


def _write_timeline(simulated: Simulated, replay: Replay, folder: Path) -> None:
    """Write one timeline of both runs, unless it is there; the replay is one more, and not measured."""
    path = timeline_path(folder, simulated.configuration)
    if path.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".moesim-", dir=folder) as temporary:
        parts = {name: Path(temporary) / f"{name}.json.gz" for name in ("simulated", "measured")}
        simulate_configuration(simulated.configuration, simulated.own.profile, parts["simulated"])
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
        done = [sum(stored.has(item, number) for item in suite.configurations) for number in range(_most_rounds(suite))]
        self._num_done = sum(done)
        self._total = suite.repeats * len(suite.configurations) + sum(done[suite.repeats :])
        self._repeats, self._progress = suite.repeats, progress

    def adds(self, num_replays: int) -> None:
        self._total += num_replays

    def begins(self, configuration: Configuration, number: int) -> None:
        if self._progress is None:
            return
        why = "" if number < self._repeats else f" (round {number + 1}: too few steps at the calibrated speed)"
        self._progress(self._num_done, self._total, configuration.id + why)

    def waits(self) -> None:
        if self._progress is not None:
            self._progress(
                self._num_done, self._total, "waiting until the machine is as fast as when it was calibrated"
            )

    def ended(self) -> None:
        self._num_done += 1
