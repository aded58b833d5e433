"""One expert's way over the link, or from NVMe to host memory, chunk by chunk.

    latency + bytes / bandwidth, or what the profile states

Limits: NVMe reads one expert at a time at its sequential bandwidth, however small the expert; its caches, wear and heat
are left out.
"""

from fractions import Fraction

from hardware_profiles.errors import InputError
from hardware_profiles.link_presets import resolve_link
from hardware_profiles.profile import Constant, Duration, Figure, HardwareProfile
from simulator.costs.exact import NS_PER_S, DurationCurve, ceil_ns, exact


def transfer_chunks_ns(profile: HardwareProfile, num_bytes: int) -> tuple[int, ...]:
    """Return the duration of a transfer of `num_bytes` up to the end of each chunk.

    The whole takes as long as without chunks; latency is paid at its start. A stated constant is divided by bytes.
    """
    link = resolve_link(profile.link.h2d, "link.h2d")
    return _chunks_ns(num_bytes, link.chunk, profile.durations.transfer, link.bandwidth, link.latency)


def read_chunks_ns(profile: HardwareProfile, num_bytes: int) -> tuple[int, ...]:
    """Return the same for a read from NVMe into host memory. Raises InputError where the machine has no NVMe."""
    nvme, stated = profile.nvme, profile.durations.nvme_read
    if nvme.bandwidth is None and stated is None:
        raise InputError(
            profile.name,
            "nvme.bandwidth: is not given, and experts that host memory does not hold are read from NVMe; say how fast, "
            'such as --set nvme.bandwidth="7 GB/s" (and nvme.latency), or leave host_cache out',
        )
    return _chunks_ns(num_bytes, nvme.chunk, stated, nvme.bandwidth, nvme.latency)


def _chunks_ns(
    num_bytes: int, chunk: Figure | None, stated: Duration | None, bandwidth: Figure | None, latency: Figure | None
) -> tuple[int, ...]:
    chunk_bytes = num_bytes if chunk is None else min(num_bytes, int(chunk.value))
    ends = [*range(chunk_bytes, num_bytes, chunk_bytes), num_bytes]
    if stated is not None:
        curve = DurationCurve(stated)
        if isinstance(stated, Constant):
            return tuple(ceil_ns(curve.ns(num_bytes) * end / num_bytes) for end in ends)
        return tuple(ceil_ns(curve.ns(end)) for end in ends)
    assert bandwidth is not None, "neither a bandwidth nor a time is given"
    latency_ns = Fraction(0) if latency is None else exact(latency.value) * NS_PER_S
    return tuple(ceil_ns(latency_ns + end * NS_PER_S / exact(bandwidth.value)) for end in ends)
