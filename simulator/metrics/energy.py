"""What a run draws, and what it costs.

    energy of a resource = idle power * makespan + (busy power - idle power) * busy time
    price = machine per hour * makespan + energy * electricity

`gpu` is busy while its stream works, and idle while it waits, for transfers as for requests. `cpu` is busy with all its
workers; with some of them, in proportion. `link` is busy in one direction; both at once count twice. `host_memory` is busy
for as long as all that copies and the CPU's experts move takes at its full bandwidth, at most the whole run. `rest` is
always there.

Source: a power that is linear in utilisation between an idle and a busy level, Fan, Weber & Barroso, Power Provisioning
for a Warehouse-sized Computer, ISCA 2007.

Limits: two levels, whatever the work: a kernel that memory bounds draws as much as one that arithmetic bounds, though it
often draws less than a board's limit. No frequency scaling, temperature, power caps or sleep states. A runtime's overhead
counts as work of the GPU. Losses of power supplies, cooling and fans are in the figures or in `rest`, or not at all. A
machine is paid for the time of the run alone, not for hours in which nobody uses it. NVMe's own power is part of `rest`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from hardware_profiles.profile import HardwareProfile, Power, PowerDraw, Price
from simulator.metrics.counters import Counters
from simulator.resources.host_memory import TrafficFactors

NS_PER_S = 10**9
S_PER_HOUR = 3600
J_PER_KWH = 3_600_000
MILLION = 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class BusyTimes:
    """For how long each resource worked, in ns of its full power; `makespan_ns` is the time of the run."""

    makespan_ns: int
    gpu: float
    cpu: float
    host_memory: float
    link: float


def busy_times(
    measured: Counters, profile: HardwareProfile, *, expert_bytes: int, low_expert_bytes: int, num_cpu_workers: int
) -> BusyTimes:
    """Return for how long the resources of a machine worked in what was counted."""
    factors = TrafficFactors()
    transfers = measured.demand_transfers + measured.prefetch_transfers + measured.in_place_transfers
    copied_bytes = (transfers + measured.write_backs) * expert_bytes + measured.low_transfers * low_expert_bytes
    copied_bytes += measured.kv_out_bytes + measured.kv_in_bytes
    moved_bytes = copied_bytes * factors.of_copy(is_pageable=profile.link.host_memory == "pageable")
    moved_bytes += sum(measured.cpu_experts) * expert_bytes * factors.cpu_expert
    moved_bytes += measured.nvme_reads * expert_bytes * factors.copy
    memory_ns = float(moved_bytes) / profile.host.bandwidth.value * NS_PER_S
    return BusyTimes(
        makespan_ns=measured.now_ns,
        gpu=measured.work_ns(),
        cpu=measured.cpu_busy_ns / num_cpu_workers,
        host_memory=min(memory_ns, measured.now_ns),
        link=measured.link_busy_ns + measured.write_back_busy_ns + measured.kv_out_ns,
    )


def energy_of(power: Power, busy: BusyTimes, *, output_tokens: int) -> dict[str, object] | None:
    """Return the energy of a run, in all and by resource; None where the machine gives no power.

    `not_counted` names the resources whose power is not given.
    """
    resources = {
        "gpu": (power.gpu, busy.gpu),
        "cpu": (power.cpu, busy.cpu),
        "host_memory": (power.host_memory, busy.host_memory),
        "link": (power.link, busy.link),
    }
    found = {name: _energy_j(draw, busy_ns, busy.makespan_ns) for name, (draw, busy_ns) in resources.items()}
    found["rest"] = None if power.rest is None else power.rest.value * busy.makespan_ns / NS_PER_S
    by_resource_j = {name: energy_j for name, energy_j in found.items() if energy_j is not None}
    if not by_resource_j:
        return None
    total_j = sum(by_resource_j.values())
    return {
        "total_j": total_j,
        "by_resource_j": by_resource_j,
        "not_counted": [name for name in found if name not in by_resource_j],
        "j_per_output_token": total_j / output_tokens if output_tokens else None,
        "mean_power_w": total_j * NS_PER_S / busy.makespan_ns if busy.makespan_ns else None,
    }


def price_of(
    price: Price, energy: Mapping[str, object] | None, *, makespan_ns: int, output_tokens: int, all_tokens: int
) -> dict[str, object] | None:
    """Return what a run costs, by what is paid for, and per million tokens; None where the machine gives no price.

    `all_tokens` are those that went through the model as a prompt, and those that came out.
    """
    parts_usd: dict[str, float] = {}
    usd_per_hour = _usd_per_hour(price)
    if usd_per_hour is not None:
        parts_usd["machine"] = usd_per_hour * makespan_ns / NS_PER_S / S_PER_HOUR
    if price.electricity is not None and energy is not None:
        total_j = energy["total_j"]
        assert isinstance(total_j, float)
        parts_usd["electricity"] = price.electricity.value * total_j / J_PER_KWH
    if not parts_usd:
        return None
    total_usd = sum(parts_usd.values())
    return {
        "total_usd": total_usd,
        "by_part_usd": parts_usd,
        "usd_per_million_output_tokens": total_usd * MILLION / output_tokens if output_tokens else None,
        "usd_per_million_tokens": total_usd * MILLION / all_tokens if all_tokens else None,
    }


def _energy_j(draw: PowerDraw, busy_ns: float, makespan_ns: int) -> float | None:
    if draw.idle is None or draw.busy is None:
        return None
    return (draw.idle.value * makespan_ns + (draw.busy.value - draw.idle.value) * busy_ns) / NS_PER_S


def _usd_per_hour(price: Price) -> float | None:
    if price.per_hour is not None:
        return price.per_hour.value
    if price.purchase is not None and price.lifetime is not None:
        return price.purchase.value / price.lifetime.value
    return None
