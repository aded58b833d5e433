"""Expert time on a CPU worker, by tokens: alone, with all workers busy, and as it is in a run.

    alone       one expert at a time, in one worker
    together    as many experts at once as there are workers, while the device waits: what the profile has
    beside      together, while the device computes
    loaded      together, while the link transfers and the device computes

Together, experts of the model's siblings are measured in turns with its own. The device computes an expert of its own in the
main thread; what it and the workers take from each other in a run is `validation.calibrate.measure.waits`'s to measure, for
here the load is there all the time, and in a run it comes and goes. What transfers do to CPU experts is measured there too.

Limits: where there are fewer cores than threads at work, `loaded` is mostly the threads' waiting for each other.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from validation.calibrate.measure.traffic import Traffic
from validation.calibrate.measurement import At, Measure, Measurement
from validation.calibrate.siblings import Sibling, with_experts
from validation.calibrate.subject import ResidentExperts, Subject, endless, random_states
from validation.runtime.cpu_pool import Computed, CpuPool
from validation.runtime.kernel import compute_expert

TOGETHER = "cpu_expert.together"
_TOKENS = (1, 2, 4, 8, 16, 32, 64)


def measure_cpu_experts(subject: Subject, siblings: Sequence[Sibling]) -> list[Measurement]:
    """Return the measurements of experts on CPU workers."""
    tokens = [count for count in _TOKENS if count <= subject.max_tokens]
    few = [count for count in (1, 8, 64) if count <= subject.max_tokens]

    def measurement(name: str, title: str, points: list[int], weight: float) -> Measurement:
        also = siblings if name == "together" else ()
        return Measurement(
            name=f"cpu_expert.{name}",
            title=title,
            grid=[
                {"tokens": count, "scale": scale} for scale in (1.0, *(one.scale for one in also)) for count in points
            ],
            set_up=lambda: _experts(
                with_experts(subject, also),
                at_once=1 if name == "alone" else None,
                is_beside=name in ("beside", "loaded"),
                is_loaded=name == "loaded",
            ),
            weight=weight,
            is_crowded=name == "loaded",
            has_workers=True,
        )

    return [
        measurement("alone", "Expert on a CPU worker, alone, by tokens", few, 1),
        measurement("together", "Expert on a CPU worker, all workers busy, by tokens", tokens, 6),
        measurement("beside", "Expert on a CPU worker while the device computes, by tokens", few, 1),
        measurement(
            "loaded", "Expert on a CPU worker while the link transfers and the device computes, by tokens", few, 1
        ),
    ]


@contextmanager
def _experts(
    subjects: Mapping[float, Subject], *, at_once: int | None, is_beside: bool, is_loaded: bool
) -> Iterator[Measure]:
    subject = subjects[1.0]
    in_flight = at_once or subject.cpu_workers
    jobs = {scale: _jobs(one) for scale, one in subjects.items()}
    resident = ResidentExperts(subject) if is_beside else None
    resident_keys = endless(resident.num_keys if resident is not None else 1, subject.seed + 3)
    module, row_1H = subject.offloaded.expert_module(0), random_states(1, subject)

    with (
        Traffic(subject, is_on=is_loaded) as traffic,
        CpuPool(subject.cpu_workers, 1) as pool,
        torch.inference_mode(),
    ):

        def measure(at: At) -> Mapping[str, float]:
            """Return the mean time of the experts in the workers; and of a request to its completion, by the asker."""
            job = jobs[at["scale"]]
            with traffic.flowing():
                began_ns = subject.device.now_ns()
                for turn in range(in_flight):
                    pool.submit(turn, job(int(at["tokens"])))
                if resident is not None:
                    while pool.num_under_way():
                        compute_expert(module, resident.tensors(next(resident_keys)), row_1H)
                        subject.device.synchronize()
                done: list[Computed] = []
                while len(done) < in_flight:
                    done += pool.wait()
                ended_ns = subject.device.now_ns()
            times_s = [(one.end_ns - one.start_ns) / 1e9 for one in done]
            return {"time": sum(times_s) / len(times_s), "asked_to_done": (ended_ns - began_ns) / 1e9}

        yield measure


def _jobs(subject: Subject) -> Callable[[int], Callable[[], Tensor]]:
    """Return what makes the computation of a model's next expert on so many tokens, in host memory."""
    offloaded, host = subject.offloaded, subject.offloaded.host
    keys = endless(host.num_banks * offloaded.num_experts, subject.seed + 2)
    states_NH = random_states(max(subject.max_tokens, 1), subject).cpu()
    module = offloaded.expert_module(0)
    return lambda num_tokens: partial(compute_expert, module, host.tensors(next(keys)), states_NH[:num_tokens])
