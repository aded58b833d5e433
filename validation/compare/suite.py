"""A suite: which configurations are replayed on a device and simulated, from YAML.

    name: cpu
    repeats: 5
    models:
      lab-wide: {config: lab-wide, dtype: float32, routing: forced, trace: nano, prompt_tokens: 4, output_tokens: 40}
      lab-narrow: {config: lab-narrow, dtype: float32, routing: own, sequences: 8, prompt_tokens: 8, output_tokens: 40}
    defaults: {bandwidth: 2 GB/s, latency: 50 us, max_tokens: 48}
    configurations:
      - {model: [lab-wide, lab-narrow], cache_frac: [0.25, 0.5], eviction: [lru, lfu]}
      - {model: lab-wide, cache_frac: 0.5, prefetch: {name: gate_lookahead, distance: 1, experts: 2}}

A list in a configuration stands for each of its values, and lists multiply out: the first entry above is eight
configurations. What an entry does not say is taken from `defaults`, then from its system. Relative paths are taken from the
file's folder; quantities carry units.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator

from hardware_profiles.errors import InputError
from hardware_profiles.quantity import Dimension, parse_quantity
from hardware_profiles.suggest import one_of
from hardware_profiles.yaml_file import read_yaml, strict, validate
from simulator.fields import Count, Share, Whole
from simulator.policy import DEFAULTS
from simulator.scenario import FitChoice, LookaheadChoice, LowPrecisionChoice, Policy, PolicyChoice
from simulator.systems import POLICY_KINDS, read_system, system_names
from validation.compare.identity import configuration_id

if TYPE_CHECKING:
    from pydantic import TypeAdapter

VALIDATION = Path(__file__).resolve().parent.parent
NANO_TRACE = VALIDATION.parent / "traces" / "nano" / "trace.safetensors"
_MAX_CONFIGURATIONS = 10_000

Dtype = Literal["float32", "bfloat16", "float16"]
Scope = Literal["per_layer", "global"]


def _quantity(dimension: Dimension, *, positive: bool) -> BeforeValidator:
    def parse(value: object) -> object:
        if value is None:
            return None
        number = float(parse_quantity(value, dimension))
        if positive and not number:
            raise ValueError(f"{value!r} is zero; it has to be more")
        return number

    return BeforeValidator(parse)


BytesPerSecond = Annotated[float | None, _quantity(Dimension.BYTES_PER_S, positive=True)]
Seconds = Annotated[float, _quantity(Dimension.SECONDS, positive=False)]
Bytes = Annotated[float | None, _quantity(Dimension.BYTES, positive=True)]


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteModel:
    """A model of a suite and the sequences that it runs.

    Either `config`, a `config.json` by path or the name of a shape that ships (`validation/shapes`), for random weights; or
    `checkpoint`, a folder or a hub id. With `routing: forced` the routing is that of `trace` (a path, or `nano` for the
    trace that ships), each sequence cut to the last `prompt_tokens` of its prompt and the first `output_tokens` after it;
    with `own` the gates route, for random prompts of `prompt_tokens` that are continued by `output_tokens`. Either way
    `sequences` are taken. `seed` feeds weights, prompts and policies that draw at random.
    """

    config: str | None = None
    checkpoint: str | None = None
    dtype: Dtype
    routing: Literal["forced", "own"]
    trace: str | None = None
    sequences: Count = 32
    prompt_tokens: Whole
    output_tokens: Count
    seed: Whole = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One thing to replay and to simulate: a model, its cache, its policies, its link.

    `id` is unique in the suite and fit for a file's name. `trace` is the routing that is forced, or that the model's own
    gates have been recorded to give; the file is there once `prepare_trace` has run. `bandwidth_bytes_per_s` is that of a
    throttled link, None for the device's own; `chunk_bytes` None for whole transfers. A run ends with the step that brings
    its output tokens to `max_tokens`; its first `warmup_steps` steps are not measured.

    `settings` are those of a scenario that the entry gives, as plain values: a system, policies, what concerns the cache
    beside its share. `scope`, `eviction`, `prefetch` and `miss` are what comes of them.
    """

    id: str
    model_name: str
    model: SuiteModel
    trace: Path
    cache_frac: float
    settings: Mapping[str, object]
    scope: Scope
    eviction: PolicyChoice
    prefetch: PolicyChoice
    miss: PolicyChoice
    batch: int
    bandwidth_bytes_per_s: float | None
    latency_s: float
    chunk_bytes: int | None
    prefill_chunk_tokens: int | None
    sequences: int | None
    max_tokens: int | None
    warmup_steps: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A suite as read: models by name, and the configurations, multiplied out, in the order of the file.

    `seed` is that of the order of the replays.
    """

    name: str
    description: str
    repeats: int
    seed: int
    models: Mapping[str, SuiteModel]
    configurations: Sequence[Configuration]


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A configuration as an entry of a file gives it, lists multiplied out and defaults filled in.

    `label` tells apart configurations that differ only in what their ids leave out.
    """

    model: str
    cache_frac: Share
    scope: Scope | None = None
    staging: Whole | None = None
    write_back: bool | None = None
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
    lookahead: LookaheadChoice | None = None
    fit: FitChoice | None = None
    batch: Count = 1
    bandwidth: BytesPerSecond = None
    latency: Seconds = 0.0
    chunk: Bytes = None
    prefill_chunk_tokens: Count | None = None
    sequences: Count | None = None
    max_tokens: Count | None = None
    warmup_steps: Whole = 0
    label: str = ""


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    name: str
    description: str = ""
    repeats: Count = 5
    seed: Whole = 0
    models: dict[str, SuiteModel]
    defaults: dict[str, object] = field(default_factory=dict)
    configurations: list[dict[str, object]]


@cache
def _file_adapter() -> "TypeAdapter[_File]":
    from pydantic import TypeAdapter

    return TypeAdapter(_File)


@cache
def _policy_adapter() -> "TypeAdapter[PolicyChoice]":
    from pydantic import TypeAdapter

    return TypeAdapter(Policy)


@cache
def _entry_adapter() -> "TypeAdapter[_Entry]":
    from pydantic import TypeAdapter

    return TypeAdapter(_Entry)


def suite_keys() -> dict[str, list[str]]:
    """Return the keys of a suite's file, of its models and of its configurations."""
    groups = {"suite": _File, "model": SuiteModel, "configuration": _Entry}
    return {name: [item.name for item in fields(group)] for name, group in groups.items()}


def read_suite(path: Path, *, trace_folder: Path) -> Suite:
    """Read a suite. The traces of its models, cut or recorded, belong into `trace_folder`.

    Raises InputError with every fault at once: unknown keys, values out of range, models that are not there,
    configurations that are the same.
    """
    file = validate(_file_adapter(), read_yaml(path), path)
    faults = [fault for name, model in file.models.items() for fault in _model_faults(name, model, path.parent)]
    if not file.configurations:
        faults.append("configurations: names none; add one")
    models = {name: _located(model, path.parent) for name, model in file.models.items()}
    entries: list[_Entry] = []
    for where, values in _multiplied_out(file, faults):
        try:
            entry = validate(_entry_adapter(), values, path)
        except InputError as error:
            faults += [fault for fault in (f"{where}.{fault}" for fault in error.faults) if fault not in faults]
            continue
        faults += [fault for fault in _entry_faults(where, entry, models) if fault not in faults]
        entries.append(entry)
    if faults:
        raise InputError(path, faults)
    configurations = [_configuration(entry, models, trace_folder, path.parent) for entry in entries]
    _require_distinct(configurations, path)
    return Suite(
        name=file.name,
        description=file.description,
        repeats=file.repeats,
        seed=file.seed,
        models=models,
        configurations=configurations,
    )


def plain(configuration: Configuration) -> dict[str, object]:
    """Return a configuration as plain values; the trace by its file's name."""
    return asdict(configuration) | {"trace": configuration.trace.name}


def _multiplied_out(file: _File, faults: list[str]) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield each configuration's values with the key of its entry; note a list that is empty, or too long a product."""
    num_yielded = 0
    for index, given in enumerate(file.configurations):
        where = f"configurations.{index}"
        entry = file.defaults | given
        choices = {key: value if isinstance(value, list) else [value] for key, value in entry.items()}
        faults += [f"{where}.{key}: is an empty list; name a value" for key, value in choices.items() if not value]
        for values in itertools.product(*choices.values()):
            num_yielded += 1
            if num_yielded > _MAX_CONFIGURATIONS:
                faults.append(f"{where}: makes more than {_MAX_CONFIGURATIONS} configurations; divide the suite")
                return
            yield where, dict(zip(choices, values, strict=True))


def _model_faults(name: str, model: SuiteModel, folder: Path) -> Iterator[str]:
    where = f"models.{name}"
    if not name.replace("-", "").replace(".", "").replace("_", "").isalnum() or name.startswith("."):
        yield f"{where}: is no name for a file; write letters, digits, dots, - and _"
    if (model.config is None) == (model.checkpoint is None):
        yield f"{where}: gives {'neither' if model.config is None else 'both'} config and checkpoint; give one of them"
    if model.config is not None and not _located_config(model.config, folder).is_file():
        hint = one_of(model.config, shape_names()) if "/" not in model.config else "check the path"
        yield f"{where}.config: {model.config!r} is no file and no shape that ships; {hint}"
    if model.routing == "forced" and model.trace is None:
        yield f"{where}.trace: is missing; name the trace whose routing is forced (nano is one that ships)"
    if model.routing == "own" and model.trace is not None:
        yield f"{where}.trace: would have no effect, because the model routes by its own gates; take it away"


def _entry_faults(where: str, entry: _Entry, models: Mapping[str, SuiteModel]) -> Iterator[str]:
    if entry.model not in models:
        yield f"{where}.model: {entry.model!r} is not among the suite's models; {one_of(entry.model, list(models))}"
    if entry.system is not None and entry.system not in system_names():
        yield f"{where}.system: {entry.system!r} is not known; {one_of(entry.system, system_names())}"
    if entry.cache_frac is None:
        yield f"{where}.cache_frac: is missing; write the share of all experts that the cache holds"
    if entry.bandwidth is None and entry.latency:
        yield f"{where}.latency: would have no effect without a bandwidth to throttle the link to; add bandwidth"


def shape_names() -> list[str]:
    """Return the names of the shapes that ship, sorted."""
    return sorted(path.stem for path in (VALIDATION / "shapes").glob("*.json"))


def _located_config(config: str, folder: Path) -> Path:
    return VALIDATION / "shapes" / f"{config}.json" if config in shape_names() else folder / config


def _located(model: SuiteModel, folder: Path) -> SuiteModel:
    """Return the model with its paths as they are from here."""
    values = asdict(model)
    if model.config is not None:
        values["config"] = str(_located_config(model.config, folder))
    if model.checkpoint is not None and (folder / model.checkpoint).is_dir():
        values["checkpoint"] = str(folder / model.checkpoint)
    if model.trace is not None:
        values["trace"] = str(NANO_TRACE if model.trace == "nano" else folder / model.trace)
    return SuiteModel(**values)


def _configuration(entry: _Entry, models: Mapping[str, SuiteModel], trace_folder: Path, folder: Path) -> Configuration:
    assert entry.cache_frac is not None
    chunk_bytes = None if entry.chunk is None else int(entry.chunk)
    below = read_system(entry.system).settings if entry.system is not None else {}
    policies = {kind: _policy(kind, entry, below) for kind in POLICY_KINDS}
    given = {kind: choice for kind, choice in policies.items() if getattr(entry, kind) is not None}
    if entry.system is None:
        given = {"eviction": policies["eviction"]} | given
    settings = _settings(entry, folder)
    below_cache = below.get("cache")
    scope = entry.scope or (below_cache.get("scope") if isinstance(below_cache, Mapping) else None) or "per_layer"
    return Configuration(
        id=configuration_id(
            model=entry.model,
            cache_frac=entry.cache_frac,
            scope=entry.scope or "per_layer",
            system=entry.system,
            policies=given,
            settings=settings,
            batch=entry.batch,
            bandwidth_bytes_per_s=entry.bandwidth,
            chunk_bytes=chunk_bytes,
            label=entry.label,
        ),
        model_name=entry.model,
        model=models[entry.model],
        trace=trace_folder / f"{entry.model}.safetensors",
        cache_frac=entry.cache_frac,
        settings=settings,
        scope=scope,
        eviction=policies["eviction"],
        prefetch=policies["prefetch"],
        miss=policies["miss"],
        batch=entry.batch,
        bandwidth_bytes_per_s=entry.bandwidth,
        latency_s=entry.latency,
        chunk_bytes=chunk_bytes,
        prefill_chunk_tokens=entry.prefill_chunk_tokens,
        sequences=entry.sequences,
        max_tokens=entry.max_tokens,
        warmup_steps=entry.warmup_steps,
        seed=models[entry.model].seed,
    )


def _policy(kind: str, entry: _Entry, below: Mapping[str, object]) -> PolicyChoice:
    """Return the policy of a kind: the entry's own, else its system's, else the default."""
    choice: PolicyChoice | None = getattr(entry, kind)
    if choice is not None:
        return choice
    value = below.get(kind)
    if value is not None:
        return validate(_policy_adapter(), value if isinstance(value, Mapping) else {"name": value}, str(entry.system))
    return DEFAULTS[kind]


def _settings(entry: _Entry, folder: Path) -> dict[str, object]:
    """Return the settings of a scenario that an entry gives, beside the share of experts that the cache holds."""
    settings: dict[str, object] = {} if entry.system is None else {"system": entry.system}
    for name in (*POLICY_KINDS, "low_precision", "lookahead", "fit"):
        choice = getattr(entry, name)
        if choice is not None:
            settings[name] = asdict(choice)
    if entry.fit is not None and entry.fit.trace is not None:
        settings["fit"] = {"trace": str(folder / entry.fit.trace)}
    cache_settings = {name: getattr(entry, name) for name in ("scope", "staging", "write_back")}
    given = {name: value for name, value in cache_settings.items() if value is not None}
    return settings | ({"cache": given} if given else {})


def _require_distinct(configurations: Sequence[Configuration], path: Path) -> None:
    """Raise InputError for configurations that share an id."""
    counts = Counter(configuration.id for configuration in configurations)
    faults = []
    for name, count in counts.items():
        if count > 1:
            alike = [plain(configuration) for configuration in configurations if configuration.id == name]
            differing = [key for key in alike[0] if any(other[key] != alike[0][key] for other in alike)]
            told = f"differ in {', '.join(differing)} alone; give them a label each" if differing else "are the same"
            faults.append(f"configurations: {count} of them are {name} and {told}")
    if faults:
        raise InputError(path, faults)
