"""What waiting costs beyond what is waited for: passes of hits, against passes of misses, fetched or left to the CPU.

And what looking ahead costs: passes of hits in which each layer but the last applies the next one's gate to its own state.
And what copies take from the device's speed: passes of hits beside which the link copies other experts without a pause, so
that the share lost is 1 - hits / such passes. And what they take from the speed of the CPU's workers: passes with the CPU,
without such copies and beside them, in which it is the time of the experts in the workers that counts.

In a pass of misses that are fetched, each layer's K experts arrive one after the other, T apart, and T is long against an
expert's time; the stream waits, computes one while the next is on its way, and the last after the last. In a pass with the
CPU, its workers compute c of the K, half of them or all, in a time C if the device waits, while the device computes the
others, in a time D = (K - c) expert if the CPU rests. With s = slowed_by_cpu_experts,

    pass of hits       L (layer + K expert) + step
    pass of misses     L (layer + K T + expert + per_stall) + step
    pass with the CPU  L (layer + max(D, C) + s min(D, C) + per_cpu_join) + step

so that per_stall = (misses - hits) / L - K T + (K - 1) expert: the decisions and hand-overs of a miss, noticing the end of
the transfer, waking up, and an expert and a layer that begin with cold caches. And per_cpu_join = (with the CPU - hits) / L
+ K expert - C where the CPU computes all: the same of experts on the CPU, and adding up their results. And s is what half of
them on either side take beyond that, as a share of min(D, C): what device and workers take from each other where they share
a memory.

Passes with the CPU beside copies have more threads at work than a small machine has cores, so these, and those that they are
held against, are a measurement of their own, in which waiting for a core counts: a run's workers wait likewise. Their
samples count where all cores are as fast as the reference: the workers are on others than the thread that is probed.

Limits: batch 1; on the CPU device the link is throttled, as it is in the runs that this is for; on CUDA it is the link
itself, and T is what it takes back to back. What depends on how many experts the CPU computes is told apart from two numbers
of them, all and half; what copies at another bandwidth take is not.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

from simulator.workload.request import Request
from simulator.workload.step import Step
from validation.calibrate.measure.narrow_visits import Misses, NarrowVisits
from validation.calibrate.measure.pass_timer import PassTimer
from validation.calibrate.measure.passes import step_of
from validation.calibrate.measure.traffic import Traffic
from validation.calibrate.measurement import At, Measure, Measurement
from validation.calibrate.subject import Subject
from validation.replay.forward import StepRunner
from validation.runtime.throttle import Throttle

NAME, CROWDED = "pass.waits", "pass.crowded"
CONTEXT = 16
_PAGE_BYTES = 4096


def measure_waits(subject: Subject, *, throttle_bytes_per_s: float | None) -> list[Measurement]:
    """Return both measurements, over a link at `throttle_bytes_per_s`, or the device's own.

    Of a sample, `misses` is a count per layer, `transfer` the stated time T of one, 0 where it is the device's own,
    `lookahead` the mean of a pass that looks ahead, `cpu_expert` that of the experts in the CPU's workers, if there are any.
    """
    top_k = subject.offloaded.top_k
    half_on_cpu = max(1, top_k // 2)
    hits = {"fetched": 0, "on_cpu": 0, "looks_ahead": 0, "copies": 0}
    return [
        Measurement(
            name=NAME,
            title="Decode steps of one sequence: hits, misses, looking ahead, beside copies",
            grid=[
                hits,
                hits | {"fetched": top_k},
                *([hits | {"looks_ahead": 1}] if subject.offloaded.num_layers > 1 else []),
                hits | {"copies": 1},
            ],
            set_up=lambda: _passes(subject, throttle_bytes_per_s),
            weight=12,
            is_long=True,
        ),
        Measurement(
            name=CROWDED,
            title="Decode steps of one sequence: hits, half of the experts on the CPU, beside copies and without, and all",
            grid=[
                hits,
                hits | {"on_cpu": half_on_cpu},
                hits | {"on_cpu": half_on_cpu, "copies": 1},
                *([hits | {"on_cpu": top_k}] if top_k > half_on_cpu else []),
            ],
            set_up=lambda: _passes(subject, throttle_bytes_per_s),
            weight=6,
            is_crowded=True,
            has_workers=True,
            is_long=True,
        ),
    ]


@contextmanager
def _passes(subject: Subject, throttle_bytes_per_s: float | None) -> Iterator[Measure]:
    offloaded = subject.offloaded

    def throttle() -> Throttle | None:
        return None if throttle_bytes_per_s is None else Throttle(bandwidth_bytes_per_s=throttle_bytes_per_s)

    runner = StepRunner(
        offloaded.model, subject.device.torch_device, batch=1, max_context=CONTEXT + 1, seed=subject.seed
    )
    visits = NarrowVisits(subject, has_misses=True, throttle=throttle())
    _touch_host_copies(subject)
    with PassTimer(subject, visits) as timer, Traffic(subject, is_on=True, throttle=throttle()) as traffic:

        def time(second: Step, misses: Misses, at: At) -> Mapping[str, float]:
            with traffic.flowing() if at["copies"] else nullcontext():
                return timer.time(lambda: runner.run(second), misses, looks_ahead=at["looks_ahead"] > 0)

        def measure(at: At) -> Mapping[str, float]:
            request = Request(index=0, sequence=0, prompt_tokens=0, total_tokens=2)
            first = step_of([request], [CONTEXT - 1], joins=True)
            second = step_of([request], [CONTEXT], ends=True)
            misses = Misses(are_fetched=at["fetched"] > 0, on_cpu=round(at["on_cpu"]))
            has_lasted = False
            while not has_lasted:
                runner.reset()
                runner.run(first)
                runner.prepare(second)
                before, before_cpu = _misses(visits), len(visits.cpu_seconds)
                times = time(second, misses, at)
                has_lasted = traffic.has_lasted
            sample = {
                "pass": times["pass"],
                "expert": times["expert"],
                "misses": (_misses(visits) - before) / offloaded.num_layers,
                "transfer": 0.0 if throttle_bytes_per_s is None else subject.expert_bytes / throttle_bytes_per_s,
            }
            if at["looks_ahead"]:
                sample["lookahead"] = times["lookahead"]
            if on_cpu := visits.cpu_seconds[before_cpu:]:
                sample["cpu_expert"] = sum(on_cpu) / len(on_cpu)
            return sample

        yield measure


def _touch_host_copies(subject: Subject) -> None:
    """Read every page of the host's copies: one that lay idle may cost a fault, of the system or of its host."""
    host = subject.offloaded.host
    for key in range(host.num_banks * subject.offloaded.num_experts):
        flat = host.flat(key)
        flat[:: max(1, _PAGE_BYTES // flat.element_size())].sum()


def _misses(visits: NarrowVisits) -> int:
    assert visits.dispatch is not None
    return sum(visits.dispatch.counters.misses)
