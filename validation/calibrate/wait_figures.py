"""What waiting, looking ahead, and copies beside the work cost: from the passes of `validation.calibrate.measure.waits`."""

from math import ceil

from hardware_profiles.profile import Figure, Link, Links
from hardware_profiles.quantity import Dimension
from validation.calibrate.evidence import Evidence, measured
from validation.calibrate.facts import Facts
from validation.calibrate.measure import waits
from validation.calibrate.measurement import medians
from validation.calibrate.subject import Subject


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
    """Return what the CPU's experts cost a layer beyond their time."""
    hits, joined, _ = evidence.series(waits.CROWDED)
    (hit_s, joined_s), (expert_s,) = medians([hits, joined], "pass"), medians([hits], "expert")
    (misses,), (cpu_expert_s,) = medians([joined], "misses"), medians([joined], "cpu_expert")
    on_cpu = round(misses)
    states_bytes = on_cpu * subject.hidden_width * subject.offloaded.dtype.itemsize
    activations_s = sum(_copy_s(link, states_bytes) for link in (links.d2h, links.h2d))
    cpu_s = ceil(on_cpu / subject.cpu_workers) * cpu_expert_s + activations_s
    top_k = subject.offloaded.top_k
    per_layer_s = (joined_s - hit_s) / subject.offloaded.num_layers
    return measured(
        max(0.0, per_layer_s + top_k * expert_s - max((top_k - on_cpu) * expert_s, cpu_s)),
        Dimension.SECONDS,
        evidence.source(
            [waits.CROWDED], "passes with half of the experts on the CPU, less passes of hits, less their time"
        ),
    )


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
    _, *on_cpu = evidence.series(waits.CROWDED)
    alone_s, beside_s = medians(on_cpu, "cpu_expert")
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
