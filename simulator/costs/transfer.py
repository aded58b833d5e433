"""One expert's way over the link: latency + bytes / bandwidth, or what the profile states, chunk by chunk."""

from hardware_profiles.link_presets import resolve_link
from hardware_profiles.profile import Constant, HardwareProfile
from simulator.costs.exact import NS_PER_S, DurationCurve, ceil_ns, exact


def transfer_chunks_ns(profile: HardwareProfile, num_bytes: int) -> tuple[int, ...]:
    """Return the duration of a transfer of `num_bytes` up to the end of each chunk.

    The whole takes as long as without chunks; latency is paid at its start. A stated constant is divided by bytes.
    """
    link = resolve_link(profile.link.h2d, "link.h2d")
    chunk_bytes = num_bytes if link.chunk is None else min(num_bytes, int(link.chunk.value))
    ends = [*range(chunk_bytes, num_bytes, chunk_bytes), num_bytes]
    stated = profile.durations.transfer
    if stated is not None:
        curve = DurationCurve(stated)
        if isinstance(stated, Constant):
            return tuple(ceil_ns(curve.ns(num_bytes) * end / num_bytes) for end in ends)
        return tuple(ceil_ns(curve.ns(end)) for end in ends)
    latency_ns, bandwidth = exact(link.latency.value) * NS_PER_S, exact(link.bandwidth.value)
    return tuple(ceil_ns(latency_ns + end * NS_PER_S / bandwidth) for end in ends)
