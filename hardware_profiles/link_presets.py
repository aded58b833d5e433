"""Host links by name: `gen4x16` and its like computed from the bus, NVLink-C2C as published, unified memory assumed.

PCI Express, one direction, bytes per second:

    bandwidth = lanes * transfers_per_s / 8                     raw rate; one transfer carries one bit of a lane
                * encoding                                      128b/130b up to generation 5; in 6, 236 bytes of 256
                * payload / (payload + packet overhead)         256-byte payloads, the overhead of a completion packet
                * dma_efficiency                                what the copy engine and the host reach of the rest

The first three factors follow from the specification. The last one is fitted, one number for each generation, to
published copies of large pinned buffers over 16 lanes; it stands for flow control, acknowledgements, outstanding reads
and the host's memory. Fewer lanes take the factor of 16. A transfer costs `latency + bytes / bandwidth`.

Source: rates and encodings, PCI Express Base Specification 3.0 to 6.0; packet overhead and the payload ratio, Intel
AN 855 and AN 708 ("Understanding PCI Express Throughput"); flit of 236 bytes TLP + 6 DLP + 8 CRC + 6 FEC, PCI Express
Base Specification 6.0; what the factors are fitted to stands beside each.

Limits: one factor for both directions, although D2H is often 2 to 5 % faster than H2D; no slow-down of H2D while D2H
runs (a tenth on some hosts, half on others); pinned memory only; no switch, no second socket, no other device on the
same root port; the latency is that of a copy that is already queued, not of its launch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from hardware_profiles.errors import InputError
from hardware_profiles.profile import Figure, Kind, Link
from hardware_profiles.suggest import one_of

MAX_PAYLOAD_BYTES = 256
"""The payload of one packet. Source: what GPUs and hosts negotiate (`lspci`: MaxPayload 256 bytes, RTX 4090)."""

PACKET_OVERHEAD_BYTES = 20
"""Framing and sequence number 4, completion header of three words 12, link CRC 4. Source: Intel AN 855 (five words)."""

FLIT_PACKET_OVERHEAD_BYTES = 16
"""Header 12 and one word of header content; a flit carries framing and CRC itself. Assumed: no packet was captured."""

_LANES = (4, 8, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Generation:
    """What one generation of PCI Express brings; `fitted_to` says what `dma_efficiency` was fitted to."""

    number: int
    transfers_per_s: float
    encoding: float
    encoding_text: str
    packet_overhead_bytes: int
    dma_efficiency: float
    dma_kind: Kind
    fitted_to: str


_GENERATIONS = (
    _Generation(
        number=3,
        transfers_per_s=8e9,
        encoding=128 / 130,
        encoding_text="128b/130b",
        packet_overhead_bytes=PACKET_OVERHEAD_BYTES,
        dma_efficiency=0.85,
        dma_kind="published",
        fitted_to="12.4 GB/s, CUDA bandwidthTest logs of a GTX 1650 SUPER and of P100 nodes",
    ),
    _Generation(
        number=4,
        transfers_per_s=16e9,
        encoding=128 / 130,
        encoding_text="128b/130b",
        packet_overhead_bytes=PACKET_OVERHEAD_BYTES,
        dma_efficiency=0.87,
        dma_kind="published",
        fitted_to=(
            "26.1 and 24.8 GB/s, A100 SXM hosts (bandwidthTest log; NVIDIA developer forum 352186); "
            "23.9 to 26.4 GB/s, eight RTX 4090 (NVIDIA/nvbandwidth issue 15)"
        ),
    ),
    _Generation(
        number=5,
        transfers_per_s=32e9,
        encoding=128 / 130,
        encoding_text="128b/130b",
        packet_overhead_bytes=PACKET_OVERHEAD_BYTES,
        dma_efficiency=0.96,
        dma_kind="published",
        fitted_to=(
            "56.3 to 56.4 GB/s, eight RTX 5090 (tinygrad/open-gpu-kernel-modules issue 29); "
            "55.6 GB/s, the example of NVIDIA's nvbandwidth article"
        ),
    ),
    _Generation(
        number=6,
        transfers_per_s=64e9,
        encoding=236 / 256,
        encoding_text="236/256",
        packet_overhead_bytes=FLIT_PACKET_OVERHEAD_BYTES,
        dma_efficiency=0.96,
        dma_kind="assumed",
        fitted_to="nothing: taken from generation 5, no copy over generation 6 is at hand",
    ),
)

_LATENCY_SOURCE = (
    "1 MB at 12.1 GB/s takes so much longer than at the 12.4 GB/s of large copies, CUDA bandwidthTest over PCIe 3.0 x16"
)

_C2C_SOURCE = (
    "346 GB/s by copy engine, GH200 with 480 GB of LPDDR5X (NVIDIA/nvbandwidth issue 23); NVIDIA states 450 GB/s each "
    "way, and hosts with less and faster LPDDR5X are said to reach 375 GB/s"
)
_C2C_D2H_SOURCE = f"H2D is about 15 % faster than D2H there, so 346 / 1.15, rounded; H2D: {_C2C_SOURCE}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkPreset:
    """A named link, one direction: `bandwidth` is the raw rate times what the encoding leaves, times `efficiency`."""

    name: str
    raw_bytes_per_s: float
    encoding: str
    efficiency: float
    bandwidth: Figure
    latency: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedLink:
    """One direction of a link with every figure known; `chunk` is None where transfers are not cut."""

    bandwidth: Figure
    latency: Figure
    chunk: Figure | None


def _figure(value: float, text: str, kind: Kind, source: str) -> Figure:
    return Figure(value=value, text=text, kind=kind, source=source)


def _pcie(generation: _Generation, lanes: int) -> LinkPreset:
    name = f"gen{generation.number}x{lanes}"
    raw_bytes_per_s = lanes * generation.transfers_per_s / 8
    packet_efficiency = MAX_PAYLOAD_BYTES / (MAX_PAYLOAD_BYTES + generation.packet_overhead_bytes)
    efficiency = packet_efficiency * generation.dma_efficiency
    bytes_per_s = round(raw_bytes_per_s * generation.encoding * efficiency, -7)  # what is shown is what is used
    fit = (
        f"PCIe {generation.number}.0 x{lanes} by formula: {generation.encoding_text}, {MAX_PAYLOAD_BYTES} B payloads "
        f"with {generation.packet_overhead_bytes} B overhead, DMA factor {generation.dma_efficiency} fitted at x16 to "
        f"{generation.fitted_to}"
    )
    if lanes == 16:
        kind = generation.dma_kind
    else:
        kind = "assumed"
        fit += f"; that {lanes} lanes reach the same factor is assumed"
    return LinkPreset(
        name=name,
        raw_bytes_per_s=raw_bytes_per_s,
        encoding=generation.encoding_text,
        efficiency=efficiency,
        bandwidth=_figure(bytes_per_s, f"{bytes_per_s / 1e9:.2f} GB/s", kind, fit),
        latency=_figure(
            2e-6,
            "2 us",
            "published" if generation.number == 3 and lanes == 16 else "assumed",
            _LATENCY_SOURCE
            if generation.number == 3 and lanes == 16
            else f"taken from PCIe 3.0 x16 ({_LATENCY_SOURCE}); not known for {name}",
        ),
    )


def _c2c(direction: str, gb_per_s: float, source: str) -> LinkPreset:
    raw_bytes_per_s = 450e9
    return LinkPreset(
        name=f"nvlink-c2c-{direction}",
        raw_bytes_per_s=raw_bytes_per_s,
        encoding="none stated",
        efficiency=gb_per_s * 1e9 / raw_bytes_per_s,
        bandwidth=_figure(gb_per_s * 1e9, f"{gb_per_s:g} GB/s", "published", source),
        latency=_figure(2e-6, "2 us", "assumed", "taken from the PCIe presets; not known for NVLink-C2C"),
    )


def _unified_orin() -> LinkPreset:
    raw_bytes_per_s, efficiency = 204.8e9, 0.4
    return LinkPreset(
        name="unified-orin",
        raw_bytes_per_s=raw_bytes_per_s,
        encoding="none",
        efficiency=efficiency,
        bandwidth=_figure(
            raw_bytes_per_s * efficiency,
            f"{raw_bytes_per_s * efficiency / 1e9:.2f} GB/s",
            "assumed",
            "a copy within one DRAM reads and writes each byte, so half of Jetson AGX Orin's 204.8 GB/s, times "
            "the 80 % that a copy is assumed to reach; nothing else may use the memory meanwhile",
        ),
        latency=_figure(2e-6, "2 us", "assumed", "taken from the PCIe presets; not known for copies within one DRAM"),
    )


@cache
def link_presets() -> Mapping[str, LinkPreset]:
    """Return the presets by name."""
    presets = [_pcie(generation, lanes) for generation in _GENERATIONS for lanes in _LANES]
    presets += [_c2c("h2d", 346, _C2C_SOURCE), _c2c("d2h", 300, _C2C_D2H_SOURCE), _unified_orin()]
    return {preset.name: preset for preset in presets}


def resolve_link(link: Link, where: str = "link") -> ResolvedLink:
    """Fill what `link` does not give from its preset; what it gives wins.

    A link without a preset and without a latency has none, as an assumed figure. Raises InputError, naming `where`, for
    a preset that is not known and for a link with neither preset nor bandwidth.
    """
    preset = None
    if link.preset is not None:
        preset = link_presets().get(link.preset)
        if preset is None:
            raise InputError(where, unknown_preset(link.preset))
    bandwidth = link.bandwidth or (preset.bandwidth if preset else None)
    if bandwidth is None:
        raise InputError(where, NEITHER_PRESET_NOR_BANDWIDTH)
    latency = link.latency or (preset.latency if preset else None)
    if latency is None:
        latency = _figure(0.0, "0 us", "assumed", "not given, and there is no preset to take it from")
    return ResolvedLink(bandwidth=bandwidth, latency=latency, chunk=link.chunk)


NEITHER_PRESET_NOR_BANDWIDTH = (
    "has neither a preset nor a bandwidth; give one of them (`moesim hardware links` lists the presets)"
)


def unknown_preset(name: object) -> str:
    """Say that `name` is no preset, and which there are."""
    return f"{name!r} is not a link preset; {one_of(str(name), link_presets())}"
