"""A scenario: everything that a run depends on, from YAML or from options.

    trace: recorded.safetensors
    model: gpt-oss-20b
    hardware: rtx-4090
    cache: {frac: 0.25}
    eviction: lru

Paths in a scenario file are relative to the file. Quantities carry units; counts and fractions do not.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field

from hardware_profiles.errors import InputError
from hardware_profiles.suggest import one_of
from hardware_profiles.yaml_file import read_yaml, strict, validate
from simulator.fields import BytesText, Count, Share, TimeText, Whole
from simulator.gpus.choice import GpusChoice
from simulator.model.load import model_names
from simulator.serving.choice import SchedulerChoice, SloChoice, StopChoice, WarmupText
from simulator.systems import read_system, system_names

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Values = dict[str, object]
"""A scenario's plain values."""


def _named_policy(value: object) -> object:
    """Accept `lru` for `{name: lru}`; other keys of the mapping are the policy's parameters."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Mapping) and "name" in value and "parameters" not in value:
        return {"name": value["name"], "parameters": {key: value[key] for key in value if key != "name"}}
    return value


def _parameter(value: object) -> object:
    if not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not a parameter of a policy; write a number, a text, true or false")
    return value


def _workload_mapping(value: object) -> object:
    if isinstance(value, str):
        raise ValueError(f"{value!r} is a text; name a request trace as workload: {{file: {value}}}")
    return value


def _by_class(value: object) -> object:
    """Tell objectives without a class from objectives by class."""
    if not isinstance(value, Mapping) or not value:
        return value
    named = {item.name for item in fields(SloChoice)}
    if set(value) <= named and not any(isinstance(of_class, Mapping) for of_class in value.values()):
        raise ValueError("gives objectives without a class; write slo: {default: {...}} for requests of no other class")
    return value


Parameter = Annotated[int | float | str | bool, BeforeValidator(_parameter)]


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChoice:
    """A policy by name, with its parameters."""

    name: str
    parameters: dict[str, Parameter] = field(default_factory=dict)


ReplicaCount = Annotated[int, Field(strict=True, ge=1, le=1000)]
Policy = Annotated[PolicyChoice, BeforeValidator(_named_policy)]


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class CacheChoice:
    """The expert cache. At most one of `experts`, `bytes` and `frac` says how large it is; none: what memory leaves.

    `scope` says which experts compete for a slot: those of a layer's bank, or all. `staging` slots of the capacity are kept
    for what is not, or not yet, let into the others: prefetched experts that no gate has asked for, or those that the
    eviction policy refuses. With `write_back`, an evicted expert is copied back to the host.
    """

    experts: Count | None = None
    bytes: BytesText = None
    frac: Share = None
    scope: Literal["per_layer", "global"] = "per_layer"
    staging: Whole = 0
    write_back: bool = False


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class HostCacheChoice:
    """Host memory as a cache of experts that lie on NVMe.

    At most one of `experts`, `bytes` and `frac` says how large it is; none: what host memory leaves. `eviction` is any of
    the policies that the GPU's cache knows. Behind each expert that has to be read at once, `read_ahead` more are read, in
    the order of the file. `start` says what is there at first: nothing, or the most popular of what the GPU does not hold.
    """

    experts: Count | None = None
    bytes: BytesText = None
    frac: Share = None
    eviction: Policy = field(default_factory=lambda: PolicyChoice(name="lru"))
    read_ahead: Whole = 0
    start: Literal["empty", "popular"] = "empty"


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class QuantisationChoice:
    """Formats in place of those that the model was released in.

    `experts` is that of routed experts, `rest` that of all other weights; `kv_cache` is bf16 unless given. A format is a
    name (q4_k, mxfp4) or bits per weight ("4.25 bit").
    """

    experts: str | None = None
    rest: str | None = None
    kv_cache: str = "bf16"


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class LowPrecisionChoice:
    """Low-precision copies of all experts.

    `format` is their number format, `frac` the share of the cache's bytes that slots for them take.
    """

    format: str
    frac: Share = 0.25


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class FitChoice:
    """What policies learn from: the trace's first `sequences`, which are then not run, or all of another `trace`."""

    sequences: Count | None = None
    trace: str | None = None


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class LookaheadChoice:
    """How good gate lookahead is where the trace has recorded none: `recall` by distance, the last for all beyond."""

    recall: tuple[Annotated[float, Field(ge=0, le=1)], ...]


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class TilesChoice:
    """Transfers and expert kernels in `count` tiles, so that computing begins with the first; each costs `overhead`."""

    count: Count
    overhead: TimeText = "0 s"


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicasChoice:
    """How many machines serve a workload, each with the scenario's hardware, and which of them serves a request.

    `count` is how many there are. `router` (see `simulator.request_router`) chooses the one for a request; `sessions` is
    sticky where it chooses for the first request of a session, and the others follow that.
    """

    count: ReplicaCount
    router: Policy = field(default_factory=lambda: PolicyChoice(name="round_robin"))
    sessions: Literal["free", "sticky"] = "free"


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One run.

    `trace` is a routing trace, a file or a folder of shards; `model` is one that ships, a YAML file or a Hugging Face
    config.json; `hardware` is a machine that ships, or a YAML profile. `pcie` puts a link preset in place of the machine's,
    in both directions; `hardware_set` overrides figures of the hardware profile by dotted path; `quantisation` gives other
    formats than the released ones. `description` is a text, kept.

    `cache` says how large the expert cache on the GPU is, and who shares it. With `host_cache`, host memory does not hold
    all experts: the others are read from NVMe.

    `system` names a composition of policies and settings, which the scenario's own then replace one by one.
    `placement` says what is resident at first, and whether it may be evicted; `slots` how a cache whose scope is per_layer
    is divided among banks; `eviction` who loses a slot; `prefetch` what is brought before a gate asks; `miss` what becomes
    of an expert that a gate has picked and the GPU lacks; `order` the order of a layer's experts; `queue` which waiting
    prefetches are called off at a gate; `batching` which decoding sequences share a step. `low_precision` gives all experts
    low-precision copies; `tiles` cuts transfers and kernels into parts; `lookahead` says how good gate lookahead is;
    `fit` what policies learn from.

    `batch` sequences decode together; `sequences` takes that many of the trace, from the first on or, with
    `skip_sequences`, from a later one; `max_tokens` ends the run after so many output tokens; `prefill_chunk_tokens` bounds
    a prefill step. The first `warmup_steps` steps are run but not measured. `seed` feeds policies that draw at random.

    `gpus` says how many GPUs there are and which computes what; one by default.

    With a `workload` (see `simulator.workload.choice`) the run is a service instead of a closed batch: requests arrive.
    `scheduler` says how they are served; `slo` says what those of a class should keep to; `stop` says where the run ends;
    `replicas` says on how many machines it runs; `warmup` says what of it is left out of the settled metrics (mser5 unless
    given; see `simulator.serving.warmup`).
    """

    trace: str
    model: str
    hardware: str
    pcie: str | None = None
    hardware_set: dict[str, object] = field(default_factory=dict)
    quantisation: QuantisationChoice = field(default_factory=QuantisationChoice)
    cache: CacheChoice = field(default_factory=CacheChoice)
    host_cache: HostCacheChoice | None = None
    system: str | None = None
    placement: Policy | None = None
    slots: Policy | None = None
    eviction: Policy | None = None
    prefetch: Policy | None = None
    miss: Policy | None = None
    order: Policy | None = None
    queue: Policy | None = None
    batching: Policy | None = None
    low_precision: LowPrecisionChoice | None = None
    tiles: TilesChoice | None = None
    lookahead: LookaheadChoice | None = None
    fit: FitChoice | None = None
    gpus: GpusChoice | None = None
    batch: Count = 1
    sequences: Count | None = None
    skip_sequences: Whole = 0
    max_tokens: Count | None = None
    prefill_chunk_tokens: Count | None = None
    warmup_steps: Whole = 0
    seed: Whole = 0
    workload: Annotated[dict[str, object] | None, BeforeValidator(_workload_mapping)] = None
    scheduler: SchedulerChoice | None = None
    slo: Annotated[dict[str, SloChoice], BeforeValidator(_by_class)] = field(default_factory=dict)
    stop: StopChoice | None = None
    warmup: WarmupText = None
    replicas: ReplicasChoice | None = None
    description: str = ""


@cache
def _adapter() -> "TypeAdapter[Scenario]":
    from pydantic import TypeAdapter

    return TypeAdapter(Scenario)


def read_scenario(path: Path) -> dict[str, object]:
    """Read a scenario file as plain values, its relative paths taken from its folder. Raises InputError."""
    return placed(read_yaml(path), path.parent)


def placed(values: Mapping[str, object], folder: Path) -> dict[str, object]:
    """Return a scenario's plain values with the relative paths of its files taken from a folder."""
    values = dict(values)
    for key in ("trace", "model", "hardware"):
        value = values.get(key)
        if isinstance(value, str) and _is_path(key, value):
            values[key] = str(folder / value)
    fit = values.get("fit")
    if isinstance(fit, dict) and isinstance(fit.get("trace"), str):
        values["fit"] = fit | {"trace": str(folder / fit["trace"])}
    if isinstance(values.get("workload"), dict):
        values["workload"] = with_files(values["workload"], lambda file: str(folder / file))
    return values


def relative_to(values: Mapping[str, object], folder: Path) -> dict[str, object]:
    """Return a scenario's plain values as `read_scenario` takes them from a file in `folder`."""
    moved = dict(values)
    for key in ("trace", "model", "hardware"):
        value = str(values[key])
        is_model_folder = key == "model" and value not in model_names() and Path(value).is_dir()
        if _is_path(key, value) or is_model_folder:
            relative = os.path.relpath(Path(value).resolve(), folder)
            moved[key] = relative if "/" in relative else f"./{relative}"
    fit = values.get("fit")
    if isinstance(fit, Mapping) and fit.get("trace") is not None:
        moved["fit"] = {**fit, "trace": os.path.relpath(Path(str(fit["trace"])).resolve(), folder)}
    if values.get("workload") is not None:
        moved["workload"] = with_files(values["workload"], lambda file: os.path.relpath(Path(file).resolve(), folder))
    return moved


def with_files(workload: object, moved: Callable[[str], str]) -> object:
    """Return a workload's plain values with the names of its files changed, and all else as it is."""
    if not isinstance(workload, Mapping):
        return workload
    result = dict(workload)
    for key in ("file", "lengths"):
        value = result.get(key)
        if isinstance(value, str):
            result[key] = moved(value)
        elif isinstance(value, Mapping):
            result[key] = with_files(value, moved)
    if isinstance(result.get("merge"), list | tuple):
        result["merge"] = [with_files(part, moved) for part in result["merge"]]
    return result


def _is_path(key: str, value: str) -> bool:
    """Tell a path from the name of a model or machine that ships."""
    return key == "trace" or "/" in value or Path(value).suffix in (".yaml", ".yml", ".json")


def set_path(values: dict[str, object], path: str, value: object) -> None:
    """Set a dotted path of a scenario's plain values, or a path of its hardware profile. Raises InputError.

    A path that begins with a key of the scenario sets that; any other is kept for the hardware profile, which refuses
    what it does not know.
    """
    head, *rest = path.split(".")
    if not all([head, *rest]):
        raise InputError(f"--set {path}", "has an empty part; divide the keys by single dots")
    if head not in scenario_keys():
        if not rest:
            raise InputError(f"--set {path}", f"is neither a key of the scenario nor a figure; {_keys_or_figure(path)}")
        overrides = values.setdefault("hardware_set", {})
        if isinstance(overrides, dict):
            overrides[path] = value
        return
    here = values
    for part, following in zip([head, *rest], rest, strict=False):
        inner = here.get(part)
        if isinstance(inner, str) and following != "name":
            inner = {"name": inner}
        if inner is None:
            inner = {}
        if not isinstance(inner, dict):
            raise InputError(f"--set {path}", f"{part} is {inner!r}, which has no key {following!r}")
        here[part] = inner
        here = inner
    here[(rest or [head])[-1]] = value


def _keys_or_figure(path: str) -> str:
    return f"{one_of(path, scenario_keys())}; figures have a dot, such as gpu.memory"


def scenario_keys() -> list[str]:
    """Return the top-level keys of a scenario."""
    return [item.name for item in fields(Scenario)]


def build_scenario(values: Mapping[str, object], source: str | Path) -> Scenario:
    """Validate plain values as a scenario, over those of its system. Raises InputError with every fault at once."""
    scenario = validate(_adapter(), over_system(values, source), source)
    if scenario.fit is not None and (scenario.fit.sequences is None) == (scenario.fit.trace is None):
        raise InputError(source, "fit: give either sequences, how many of the trace's first, or trace, another trace")
    faults = list(_misfits(scenario))
    for key, choice in (("cache", scenario.cache), ("host_cache", scenario.host_cache)):
        given = [name for name in ("experts", "bytes", "frac") if getattr(choice, name, None) is not None]
        if len(given) > 1:
            faults.append(f"{key}: gives {' and '.join(given)}; keep one of them")
    if faults:
        raise InputError(source, faults)
    return scenario


_OF_A_BATCH = {
    "batch": "scheduler.max_batch",
    "max_tokens": "stop.tokens",
    "prefill_chunk_tokens": "scheduler.prefill_chunk_tokens",
    "warmup_steps": 'warmup, such as mser5 or "30 s"',
}


_NO_GROUPS = "together"


def _misfits(scenario: Scenario) -> Iterator[str]:
    """Name the keys that do not go with a service, or not with a closed batch."""
    if scenario.workload is None:
        for name in ("scheduler", "slo", "stop", "warmup", "replicas"):
            if getattr(scenario, name):
                instead = "; a closed batch has warmup_steps" if name == "warmup" else ""
                yield f"{name}: is for a service; say in workload what arrives{instead}"
        return
    from simulator.workload.choice import read_choice

    try:
        read_choice(scenario.workload, "workload")
    except InputError as error:
        yield from (fault if fault.startswith("workload") else f"workload.{fault}" for fault in error.faults)
    if scenario.replicas is not None and scenario.gpus is not None:
        yield "replicas: machines behind a router have one GPU each; leave out replicas or gpus"
    defaults = {item.name: item.default for item in fields(Scenario)}
    for name, instead in _OF_A_BATCH.items():
        if getattr(scenario, name) != defaults[name]:
            yield f"{name}: is for a closed batch, and the scenario has a workload; use {instead}"
    if scenario.batching is not None and scenario.batching.name != _NO_GROUPS:
        whose = "" if scenario.system is None else f" (with system {scenario.system})"
        yield (
            f"batching: {scenario.batching.name}{whose} divides a closed batch into steps, which in a service the scheduler "
            f"does; use scheduler.policy, and batching: {_NO_GROUPS} to run without it"
        )


def over_system(values: Mapping[str, object], source: str | Path) -> Mapping[str, object]:
    """Return a scenario's plain values with those of its system where it says nothing itself."""
    name = values.get("system")
    if not isinstance(name, str):
        return values
    if name not in system_names():
        raise InputError(source, f"system: {name!r} is not known; {one_of(name, system_names())}")
    return _merged(read_system(name).settings, values)


def _merged(below: Mapping[str, object], above: Mapping[str, object]) -> dict[str, object]:
    """Lay one mapping over another; None says nothing; mappings of settings are merged, those of policies replaced."""
    result = dict(below)
    for key, value in above.items():
        lower = result.get(key)
        if isinstance(value, Mapping) and isinstance(lower, Mapping) and key in ("cache", "host_cache", "hardware_set"):
            result[key] = _merged(lower, value)
        elif value is not None or key not in result:
            result[key] = value
    return result


def plain(scenario: Scenario) -> dict[str, object]:
    """Return a scenario as plain values that read back as the same scenario."""
    return asdict(scenario)


def share_of(frac: float, total: int) -> int:
    """Return floor(frac * total), with `frac` as the decimal that it was written as."""
    return int(Decimal(repr(frac)) * total)
