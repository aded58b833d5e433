"""What waiting, looking ahead, and copies beside the work cost: from the passes of `validation.calibrate.measure.waits`."""

from math import ceil

from hardware_profiles.profile import Figure, Link, Links
from hardware_profiles.quantity import Dimension
from validation.calibrate.evidence import Evidence, measured
from validation.calibrate.facts import Facts
from validation.calibrate.measure import waits
from validation.calibrate.measure.cpu_experts import TOGETHER
from validation.calibrate.measurement import medians
from validation.calibrate.robust import Series
from validation.calibrate.subject import Subject

_MOST_FRAC = 0.99


def per_stall(evidence: Evidence, facts: Facts, subject: Subject, links: Links) -> Figure:
    """Return what a stall costs beyond the transfer."""
    hits, missing, *_ = evidence.series(waits.NAME)
    (hit_s, miss_s), (expert_s,) = medians([hits, missing], "pass"), medians([hits], "expert")
    (misses,), (transfer_s,) = medians([missing], "misses"), medians([missing], "transfer")
    if transfer_s == 0:
        transfer_s = _copy_s(links.h2d, facts.weights.expert)
    per_layer_s = (miss_s - hit_s) / subject.offloaded.num_layers
    return measured(
        max(0.0, per_layer_s - misses * transfer_s + (subject.offloaded.top_k - 1) * expert_s),
        Dimension.SECONDS,
        evidence.source([waits.NAME], "passes of misses, less passes of hits, less the transfers"),
    )


def per_cpu_join(evidence: Evidence, subject: Subject, links: Links) -> Figure:
    """Return what the CPU's experts cost a layer beyond their time: where it computes all, or as many as there are."""
    *_, all_on_cpu = _joined(evidence)
    return measured(
        max(0.0, _beyond_s(evidence, subject, links, all_on_cpu)),
        Dimension.SECONDS,
        evidence.source(
            [waits.CROWDED, TOGETHER], "passes with all experts on the CPU, less passes of hits, less their time"
        ),
    )


def slowed_by_cpu_experts(evidence: Evidence, subject: Subject, links: Links) -> Figure | None:
    """Return what device and CPU lose, of the time for which both compute experts; None where they never do."""
    if len(_joined(evidence)) < 2:
        return None
    half_on_cpu, all_on_cpu = _joined(evidence)
    on_cpu = round(half_on_cpu.at["on_cpu"])
    both_s = min(_device_s(evidence, subject, on_cpu), on_cpu / subject.cpu_workers * _cpu_expert_s(evidence))
    lost_s = _beyond_s(evidence, subject, links, half_on_cpu) - max(
        0.0, _beyond_s(evidence, subject, links, all_on_cpu)
    )
    return measured(
        min(_MOST_FRAC, max(0.0, lost_s / both_s)),
        Dimension.FRACTION,
        evidence.source(
            [waits.CROWDED, TOGETHER], "passes with half of the experts on the CPU, less their time, as those with all"
        ),
    )


def _joined(evidence: Evidence) -> list[Series]:
    """Return passes with experts on the CPU and without copies: with half of them there, and with all."""
    return [one for one in evidence.series(waits.CROWDED) if one.at["on_cpu"] and not one.at["copies"]]


def _beyond_s(evidence: Evidence, subject: Subject, links: Links, joined: Series) -> float:
    """Return what a layer of such a pass takes beyond a pass of hits and the time of its experts, each by itself."""
    hits = evidence.series(waits.CROWDED)[0]
    (hit_s, joined_s), (expert_s,) = medians([hits, joined], "pass"), medians([hits], "expert")
    on_cpu = round(joined.at["on_cpu"])
    states_bytes = on_cpu * subject.hidden_width * subject.offloaded.dtype.itemsize
    activations_s = sum(_copy_s(link, states_bytes) for link in (links.d2h, links.h2d))
    cpu_s = ceil(on_cpu / subject.cpu_workers) * _cpu_expert_s(evidence) + activations_s
    own_s = max(_device_s(evidence, subject, on_cpu), cpu_s)
    return (joined_s - hit_s) / subject.offloaded.num_layers + subject.offloaded.top_k * expert_s - own_s


def _device_s(evidence: Evidence, subject: Subject, on_cpu: int) -> float:
    """Return what the device takes for a layer's experts that are not on the CPU, while that rests."""
    hits = evidence.series(waits.CROWDED)[0]
    return (subject.offloaded.top_k - on_cpu) * medians([hits], "expert")[0]


def _cpu_expert_s(evidence: Evidence) -> float:
    """Return the time of an expert of one token on a CPU worker while the device waits."""
    return medians(evidence.series(TOGETHER)[:1], "time")[0]


def per_lookahead(evidence: Evidence) -> Figure | None:
    """Return what applying a later layer's gate takes, None of a model that has no later layer."""
    looking = [one for one in evidence.series(waits.NAME) if one.at["looks_ahead"]]
    if not looking:
        return None
    return measured(
        medians(looking, "lookahead")[0],
        Dimension.SECONDS,
        evidence.source([waits.NAME], "the next layer's gate, in passes that apply it in each layer"),
    )


def slowed_by_copies(evidence: Evidence) -> Figure:
    """Return the share of the device's speed that is lost while the link copies."""
    series = evidence.series(waits.NAME)
    beside = [one for one in series if one.at["copies"]]
    (hit_s, beside_s) = medians([series[0], *beside], "pass")
    return measured(
        max(0.0, 1 - hit_s / beside_s),
        Dimension.FRACTION,
        evidence.source([waits.NAME], "passes of hits beside copies without a pause, against passes of hits alone"),
    )


def cpu_slowed_by_copies(evidence: Evidence) -> Figure:
    """Return the share of a CPU worker's speed that is lost while the link copies."""
    _, alone, beside, *_ = evidence.series(waits.CROWDED)
    alone_s, beside_s = medians([alone, beside], "cpu_expert")
    return measured(
        max(0.0, 1 - alone_s / beside_s),
        Dimension.FRACTION,
        evidence.source(
            [waits.CROWDED],
            "experts on CPU workers in passes with half of the experts there, beside copies without a pause, against the "
            "same without copies",
        ),
    )


def _copy_s(link: Link, num_bytes: int) -> float:
    """Return the time of one copy over a link that is idle."""
    assert link.bandwidth is not None
    assert link.latency is not None
    return link.latency.value + num_bytes / link.bandwidth.value
