"""What a machine is: the figures of a hardware profile, each with its unit, kind and source.

All values are held in base units: bytes, bytes/s, FLOP/s, seconds, fractions of 1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BeforeValidator

from hardware_profiles.quantity import Dimension, parse_quantity
from hardware_profiles.yaml_file import strict

Kind = Literal["measured", "datasheet", "published", "assumed"]
_KINDS = ("measured", "datasheet", "published", "assumed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of a profile.

    `value` is in the base unit of its dimension, `text` as it was written, `kind` how it is known, `source` by whom.
    """

    value: float
    text: str
    kind: Kind
    source: str


def _provenance(entry: Mapping[object, object], fields: set[str]) -> tuple[Kind, str]:
    unknown = sorted(str(key) for key in entry if key not in fields)
    if unknown:
        raise ValueError(f"unknown key {', '.join(unknown)}; a figure has {', '.join(sorted(fields))}")
    kind = entry.get("kind")
    if kind not in _KINDS:
        raise ValueError(f"kind is {kind!r}; it should be one of {', '.join(_KINDS)}")
    source = entry.get("source")
    if not isinstance(source, str) or not source.strip():
        raise ValueError("source is missing; say where the number comes from (document, measurement, or why assumed)")
    return kind, source  # type: ignore[return-value]


def _figure_of(
    dimension: Dimension, *, positive: bool, whole: bool = False, below_one: bool = False
) -> Callable[[object], Figure]:
    def parse(entry: object) -> Figure:
        if isinstance(entry, Figure):
            return entry
        if not isinstance(entry, Mapping):
            raise ValueError(
                f"{entry!r} stands alone; write {{value: ..., kind: {'|'.join(_KINDS)}, source: ...}} with a unit of "
                f"{dimension.value}"
            )
        kind, source = _provenance(entry, {"value", "kind", "source"})
        value = parse_quantity(entry.get("value"), dimension)
        if positive and value == 0:
            raise ValueError(f"{entry['value']!r} is zero; it has to be more")
        if whole and value != int(value):
            raise ValueError(f"{entry['value']!r} is not a whole number; round it")
        if below_one and value >= 1:
            raise ValueError(f"{entry['value']!r} is all of it, or more; it has to be less")
        return Figure(value=float(value), text=str(entry["value"]), kind=kind, source=source)

    return parse


Bytes = Annotated[Figure, BeforeValidator(_figure_of(Dimension.BYTES, positive=True))]
BytesPerSecond = Annotated[Figure, BeforeValidator(_figure_of(Dimension.BYTES_PER_S, positive=True))]
Flops = Annotated[Figure, BeforeValidator(_figure_of(Dimension.FLOPS, positive=True))]
Seconds = Annotated[Figure, BeforeValidator(_figure_of(Dimension.SECONDS, positive=False))]
PositiveSeconds = Annotated[Figure, BeforeValidator(_figure_of(Dimension.SECONDS, positive=True))]
Fraction = Annotated[Figure, BeforeValidator(_figure_of(Dimension.FRACTION, positive=True))]
Share = Annotated[Figure, BeforeValidator(_figure_of(Dimension.FRACTION, positive=False, below_one=True))]
Count = Annotated[Figure, BeforeValidator(_figure_of(Dimension.COUNT, positive=True))]
WholeCount = Annotated[Figure, BeforeValidator(_figure_of(Dimension.COUNT, positive=True, whole=True))]
Watts = Annotated[Figure, BeforeValidator(_figure_of(Dimension.WATTS, positive=False))]
Dollars = Annotated[Figure, BeforeValidator(_figure_of(Dimension.DOLLARS, positive=False))]
DollarsPerHour = Annotated[Figure, BeforeValidator(_figure_of(Dimension.DOLLARS_PER_HOUR, positive=False))]
DollarsPerKwh = Annotated[Figure, BeforeValidator(_figure_of(Dimension.DOLLARS_PER_KWH, positive=False))]
Hours = Annotated[Figure, BeforeValidator(_figure_of(Dimension.HOURS, positive=True))]


@dataclass(frozen=True, slots=True, kw_only=True)
class DurationTable:
    """A duration by an amount (tokens or bytes), interpolated linearly between points, by the end slopes beyond them.

    `amounts` ascend; `seconds` do not descend. `weights_bytes` are the weights that the work read: for weights of other
    bytes the duration scales with them; None where it stands as it is. `other_weights` are durations of the same work for
    weights of other bytes, ascending, each with its own: what lies between two is interpolated.
    """

    amounts: tuple[float, ...]
    seconds: tuple[float, ...]
    kind: Kind
    source: str
    weights_bytes: float | None = None
    other_weights: "tuple[Duration, ...]" = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """A duration that does not depend on the amount of work; `weights_bytes` and `other_weights` as of a table."""

    seconds: float
    kind: Kind
    source: str
    weights_bytes: float | None = None
    other_weights: "tuple[Duration, ...]" = ()


Duration = Constant | DurationTable


def _duration_over(amount: str, *, weighed: bool = False, least: int = 1) -> Callable[[object], Duration]:
    """Parse `{constant: "8 us", kind, source}` or `{<amount>: [...], time: [...], kind, source}`.

    Amounts other than bytes are whole numbers from `least`. A `weighed` duration may say `weights: "17.3 MB"` as well, and
    then list others of the same form, each with its own weights, as `other_weights`.
    """
    also = {"weights", "other_weights", "kind", "source"} if weighed else {"kind", "source"}

    def parse(entry: object) -> Duration:
        if isinstance(entry, Constant | DurationTable):
            return entry
        others = _others_of(entry, parse) if weighed and isinstance(entry, Mapping) and "other_weights" in entry else ()
        form = f'{{constant: "8 us", kind, source}} or {{{amount}: [...], time: ["8 us", ...], kind, source}}'
        if not isinstance(entry, Mapping):
            raise ValueError(f"{entry!r} is not a duration; write {form}")
        if "constant" in entry:
            kind, source = _provenance(entry, {"constant", *also})
            seconds = float(parse_quantity(entry["constant"], Dimension.SECONDS))
            weights_bytes = _weights_of(entry)
            return Constant(
                seconds=seconds, kind=kind, source=source, weights_bytes=weights_bytes, other_weights=others
            )
        kind, source = _provenance(entry, {amount, "time", *also})
        amounts, times = entry.get(amount), entry.get("time")
        if not isinstance(amounts, list) or not isinstance(times, list) or len(amounts) != len(times) or not amounts:
            raise ValueError(f"{amount} and time should be lists of the same length, one point or more; write {form}")
        if amount == "bytes":
            amounts = [float(parse_quantity(item, Dimension.BYTES)) for item in amounts]
        elif not all(isinstance(item, int) and not isinstance(item, bool) and item >= least for item in amounts):
            raise ValueError(f"{amount} should be whole numbers from {least}, found {amounts!r}")
        seconds_list = [float(parse_quantity(item, Dimension.SECONDS)) for item in times]
        if any(b <= a for a, b in pairwise(amounts)):
            raise ValueError(f"{amount} should ascend, found {amounts!r}")
        if any(b < a for a, b in pairwise(seconds_list)):
            raise ValueError(f"time should not descend, found {times!r}")
        return DurationTable(
            amounts=tuple(amounts),
            seconds=tuple(seconds_list),
            kind=kind,
            source=source,
            weights_bytes=_weights_of(entry),
            other_weights=others,
        )

    return parse


def _others_of(entry: Mapping[object, object], parse: Callable[[object], Duration]) -> tuple[Duration, ...]:
    """Return the durations under `other_weights`, ascending by their weights, which all differ."""
    listed = entry["other_weights"]
    if not isinstance(listed, list):
        raise ValueError(f"other_weights is {listed!r}; it should be a list of durations, each with its weights")
    others = [parse(item) for item in listed]
    known = [_weights_of(entry), *(one.weights_bytes for one in others)]
    if None in known or any(one.other_weights for one in others):
        raise ValueError(
            "other_weights: every duration there, and the one that they belong to, needs weights of its own"
        )
    if len(set(known)) < len(known):
        raise ValueError("other_weights: two durations are for weights of the same bytes; leave one of them out")
    return tuple(sorted(others, key=lambda one: one.weights_bytes or 0))


def _weights_of(entry: Mapping[object, object]) -> float | None:
    """Return `weights` in bytes, None where it is not given."""
    if entry.get("weights") is None:
        return None
    weights = float(parse_quantity(entry["weights"], Dimension.BYTES))
    if weights == 0:
        raise ValueError(f"weights is {entry['weights']!r}, which times cannot scale with; leave it out")
    return weights


DurationByTokens = Annotated[Duration, BeforeValidator(_duration_over("tokens", weighed=True))]
DurationByAttendedTokens = Annotated[Duration, BeforeValidator(_duration_over("attended_tokens", least=0))]
DurationByBytes = Annotated[Duration, BeforeValidator(_duration_over("bytes"))]


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU, `name`. `memory` is all that it has; `bandwidth` the peak of its memory; `flops` is dense peak by dtype.

    `bandwidth_efficiency` and `flops_efficiency` are the shares of the peaks that real kernels reach.
    `memory_reserve` is what the driver, the context and fragmentation keep; `launch` the fixed time of one kernel.
    """

    name: str
    memory: Bytes
    memory_reserve: Bytes
    bandwidth: BytesPerSecond
    flops: dict[str, Flops]
    bandwidth_efficiency: Fraction
    flops_efficiency: Fraction
    launch: Seconds


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One direction of the host link. `preset` (gen4x16) gives what is not given here.

    `bandwidth` is what large copies reach; `latency` is paid once per transfer. With `chunk` set, a demand fetch
    overtakes a prefetch at chunk boundaries.
    """

    preset: str | None = None
    bandwidth: BytesPerSecond | None = None
    latency: Seconds | None = None
    chunk: Bytes | None = None


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Both directions between host memory and GPU: `h2d` to the GPU, `d2h` from it; `host_memory` is pinned or pageable.

    `upstream` is what the links of several GPUs share, in each direction: the port of a PCIe switch, or a root complex.
    """

    h2d: Link
    d2h: Link
    host_memory: Literal["pinned", "pageable"] = "pinned"
    upstream: BytesPerSecond | None = None


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLink:
    """The way from GPU to GPU, one direction of one GPU's port. A machine that gives no `bandwidth` has none.

    `latency` is paid once by a copy, and once by an exchange among all GPUs.
    """

    bandwidth: BytesPerSecond | None = None
    latency: Seconds | None = None


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """How the GPUs of a machine reach each other: over `nvlink`, or below one `pcie` switch."""

    nvlink: PeerLink = field(default_factory=PeerLink)
    pcie: PeerLink = field(default_factory=PeerLink)


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """The host's processor, `name`, with `cores`.

    `flops` are peaks by dtype, or what a named kernel reaches; `expert_bandwidth` is what an expert kernel draws from
    memory. `speed_probe` is the time of a fixed piece of work when this profile was measured: validation
    tells by it which steps ran on a machine as fast as then. No simulation uses it.
    `slowed_by_copies` is the share of its speed that a worker computing an expert loses while a copy is on its way to the
    GPU; nothing where it is not given.
    """

    name: str
    cores: Count
    flops: dict[str, Flops]
    expert_bandwidth: BytesPerSecond
    speed_probe: PositiveSeconds | None = None
    slowed_by_copies: Share | None = None


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Host memory: `memory` is how much there is; `bandwidth` is shared by CPU kernels and DMA.

    `memory_reserve` is what the operating system and the serving process keep for themselves; none where it is not given.
    """

    memory: Bytes
    bandwidth: BytesPerSecond
    memory_reserve: Bytes | None = None


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class Nvme:
    """The storage below host memory; a machine that gives no `bandwidth` has none.

    A read takes `latency`, none where it is not given, and its bytes over `bandwidth`. With `chunk` set, a read that a layer
    waits for overtakes one ahead of need at the end of a chunk. `capacity` is what it holds.
    """

    capacity: Bytes | None = None
    bandwidth: BytesPerSecond | None = None
    latency: Seconds | None = None
    chunk: Bytes | None = None


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A serving runtime's own overhead: `per_layer` (Python, launches, dequantisation) and `per_step`.

    `expert_kernels` says whether each expert is a kernel of its own, or all that are resident are one.
    `per_stall` is what the first expert after a wait for the link loses beyond the transfer: noticing its end, waking up,
    computing with cold caches; none where it is not given. `per_cpu_join` is what a layer whose experts the host's processor
    has computed, some of them, loses beyond the wait: handing over, noticing the end, adding up; none where it is not given.
    `slowed_by_cpu_experts` is the share of the time for which a layer's experts are computed on the GPU and on the host's
    processor at once that it loses besides, as where both use one memory; nothing where it is not given.
    `per_lookahead` is what applying the gate of a later layer to the current state takes; nothing where it is not given.
    `slowed_by_copies` is the share of the GPU's speed that is lost while a copy is on its way to it; nothing where it is
    not given.
    `cpu_workers` is how many experts the processor computes at once; one where it is not given.
    """

    per_layer: Seconds
    per_step: Seconds
    expert_kernels: Literal["per_expert", "grouped"] = "per_expert"
    cpu_workers: WholeCount | None = None
    per_stall: Seconds | None = None
    per_cpu_join: Seconds | None = None
    slowed_by_cpu_experts: Share | None = None
    per_lookahead: Seconds | None = None
    slowed_by_copies: Share | None = None


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """Measured or stated durations that take the place of the roofline.

    `expert`, `low_expert` (of a low-precision copy, made ready and computed) and `cpu_expert` (on one CPU worker) by the
    tokens of one expert; `layer` (the non-expert work of a MoE
    layer), `dense_layer` and `step` (head, sampling) by the tokens of the step; `context`, which is added to a stated
    `layer` or `dense_layer`, by attended tokens, summed over the tokens of the step; `transfer` and `nvme_read`, into host
    memory, by bytes.
    """

    expert: DurationByTokens | None = None
    low_expert: DurationByTokens | None = None
    layer: DurationByTokens | None = None
    dense_layer: DurationByTokens | None = None
    context: DurationByAttendedTokens | None = None
    step: DurationByTokens | None = None
    transfer: DurationByBytes | None = None
    nvme_read: DurationByBytes | None = None
    cpu_expert: DurationByTokens | None = None


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class PowerDraw:
    """What one resource draws: `idle`, while it has nothing to do, and `busy`, while it works; both, or neither."""

    idle: Watts | None = None
    busy: Watts | None = None


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What the parts of a machine draw; what is not given is not counted.

    `gpu` is the whole board; `cpu` the package, busy with all its workers; `host_memory` busy at its full bandwidth; `link`
    busy in one direction; `rest` what all else draws, always.
    """

    gpu: PowerDraw = field(default_factory=PowerDraw)
    cpu: PowerDraw = field(default_factory=PowerDraw)
    host_memory: PowerDraw = field(default_factory=PowerDraw)
    link: PowerDraw = field(default_factory=PowerDraw)
    rest: Watts | None = None


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a machine costs: `per_hour` where it is rented, or `purchase` spread over its `lifetime`.

    `electricity` is paid besides, for the energy of `Power`.
    """

    per_hour: DollarsPerHour | None = None
    purchase: Dollars | None = None
    lifetime: Hours | None = None
    electricity: DollarsPerKwh | None = None


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareProfile:
    """One machine: see `hardware_profiles/library/*.yaml` and docs/hardware_profiles.md.

    `name` is that of its file; `description` says for people what it is. `gpu` is its GPU, of which several are alike;
    `link` is that between host and GPU; `cpu` is the host's processor; `host` its memory; `runtime` is what a serving
    runtime adds; `nvme` is the storage below host memory; `durations` are measured or stated times in place of computed
    ones; `peers` are the links between GPUs; `power` is what the machine draws; `price` is what it costs.
    """

    name: str
    description: str
    gpu: Gpu
    link: Links
    cpu: Cpu
    host: Host
    runtime: Runtime
    nvme: Nvme = field(default_factory=Nvme)
    durations: Durations = field(default_factory=Durations)
    peers: Peers = field(default_factory=Peers)
    power: Power = field(default_factory=Power)
    price: Price = field(default_factory=Price)
