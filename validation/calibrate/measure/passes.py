"""Non-expert time: whole forward passes of the model, by batch and context, and of prefills by tokens.

A few experts per layer are computed in each pass, others in the next, so that caches are as full of other things as they
are in a run. Passes of the model's siblings are measured in turns with its own, at one context and one length of prefill.

Limits: contexts are noise (attention does not mind); batches of requests of one length; a prefill is one chunk from the
start of a sequence.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from simulator.workload.request import Request
from simulator.workload.step import Step
from validation.calibrate.measure.narrow_visits import NarrowVisits
from validation.calibrate.measure.pass_timer import PassTimer
from validation.calibrate.measurement import At, Measure, Measurement
from validation.calibrate.siblings import Sibling, with_passes
from validation.calibrate.subject import SLOT_BYTES, Subject
from validation.replay.forward import StepRunner

BATCHES = (1, 2, 4, 8, 16, 32)
CONTEXTS = (16, 128, 512)
PREFILLS = (16, 64, 128, 256, 512)
_SIBLING_SLOT_BYTES = 1 << 30


def measure_passes(subject: Subject, siblings: Sequence[Sibling]) -> list[Measurement]:
    """Return the measurements of decode steps and of prefills."""
    batches = [batch for batch in BATCHES if batch <= subject.max_batch]
    contexts = [context for context in CONTEXTS if context <= subject.max_context]
    longest = batches[-1]  # prefills are longer than any batch: so tables by tokens know which is which
    prefills = [tokens for tokens in PREFILLS if longest < tokens <= subject.max_tokens]
    decode = Measurement(
        name="pass.decode",
        title="Decode steps, by sequences and by tokens that each attends to",
        grid=[
            {"tokens": batch, "context": context, "scale": 1.0}
            for number, batch in enumerate(batches)
            for context in (contexts if number % 2 == 0 else contexts[len(contexts) // 2 :][:1])
        ]
        + [{"tokens": batch, "context": contexts[0], "scale": one.scale} for one in siblings for batch in batches],
        set_up=lambda: _passes(subject, siblings, max(batches), max(contexts) + 1, is_prefill=False),
        weight=16,
        is_long=True,
    )
    if not prefills:
        return [decode]
    prefill = Measurement(
        name="pass.prefill",
        title="Prefills, by tokens",
        grid=[{"tokens": tokens, "scale": 1.0} for tokens in prefills]
        + [{"tokens": prefills[0], "scale": one.scale} for one in siblings],
        set_up=lambda: _passes(subject, siblings, 1, max(prefills), is_prefill=True),
        weight=5,
        is_long=True,
    )
    return [decode, prefill]


def attended_tokens(at: At, *, is_prefill: bool) -> float:
    """Return what a step's tokens attend to, summed over them."""
    tokens = at["tokens"]
    return tokens * (tokens + 1) / 2 if is_prefill else tokens * at["context"]


@contextmanager
def passes_of_one_token(subject: Subject) -> Iterator[Callable[[], object]]:
    """Set up decode steps of one sequence; yields what runs one."""
    with _passes(subject, (), 1, CONTEXTS[0] + 1, is_prefill=False) as measure:
        yield lambda: measure({"tokens": 1, "context": CONTEXTS[0], "scale": 1.0})


@contextmanager
def _passes(
    subject: Subject, siblings: Sequence[Sibling], batch: int, max_context: int, *, is_prefill: bool
) -> Iterator[Measure]:
    with ExitStack() as stack:
        models = {
            scale: _Model(
                StepRunner(
                    one.offloaded.model, one.device.torch_device, batch=batch, max_context=max_context, seed=one.seed
                ),
                stack.enter_context(
                    PassTimer(one, NarrowVisits(one, slot_bytes=SLOT_BYTES if scale == 1 else _SIBLING_SLOT_BYTES))
                ),
            )
            for scale, one in with_passes(subject, siblings).items()
        }
        yield lambda at: models[at["scale"]].prefill(at) if is_prefill else models[at["scale"]].decode(at)


@dataclass(frozen=True, slots=True)
class _Model:
    """A model whose passes are timed."""

    runner: StepRunner
    timer: PassTimer

    def prefill(self, at: At) -> Mapping[str, float]:
        """Time the prefill of one request."""
        tokens = int(at["tokens"])
        request = Request(index=0, sequence=0, prompt_tokens=tokens, total_tokens=tokens)
        step = step_of([request], range(1, tokens + 1), is_prefill=True, joins=True, ends=True)
        self.runner.reset()
        self.runner.prepare(step)
        return self.timer.time(lambda: self.runner.run(step))

    def decode(self, at: At) -> Mapping[str, float]:
        """Run one step that nobody times, so that what `prepare` left in caches is gone, and one that is timed."""
        tokens, context = int(at["tokens"]), int(at["context"])
        requests = [Request(index=index, sequence=index, prompt_tokens=0, total_tokens=2) for index in range(tokens)]
        first = step_of(requests, [context - 1] * tokens, joins=True)
        second = step_of(requests, [context] * tokens, ends=True)
        self.runner.reset()
        self.runner.run(first)
        self.runner.prepare(second)
        return self.timer.time(lambda: self.runner.run(second))


def step_of(
    requests: list[Request],
    contexts: "range | list[int]",
    *,
    is_prefill: bool = False,
    joins: bool = False,
    ends: bool = False,
) -> Step:
    """Return a step whose routing is left to the gates."""
    return Step(
        is_prefill=is_prefill,
        tokens=[()] * len(contexts),
        contexts=list(contexts),
        requests=requests,
        emits=requests,
        joins=requests if joins else (),
        ends=requests if ends else (),
    )
