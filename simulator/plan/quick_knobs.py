"""What could be changed: one knob each, for the same question asked again."""

from dataclasses import dataclass, replace

from hardware_profiles.link_presets import resolve_link
from hardware_profiles.quantity import format_bytes
from simulator.model.quantisation import QUANTISATIONS, parse_quantisation
from simulator.plan.quick_memory import Memory
from simulator.plan.quick_question import Question, model_of, profile_of

_MORE_VRAM_BYTES = 8 << 30
_SMALL_FORMAT, _SMALLER_FORMAT = "q4_k", "q3_k"


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """A change by name, the question with it, and what it costs beside money, if anything."""

    name: str
    question: Question
    price: str = ""


def knobs(question: Question, memory: Memory) -> list[Knob]:
    """Return the changes that are tried, each alone. Raises InputError for what is wrong with the question's names."""
    profile, model = profile_of(question), model_of(question)
    found = []
    bandwidth = resolve_link(profile.link.h2d, "link.h2d").bandwidth.value
    faster = f"{2 * bandwidth / 1e9:.6g} GB/s"
    if not memory.fits_without_offloading:
        found.append(
            Knob(
                name=f"PCIe twice as fast ({faster})",
                question=replace(question, figures={**question.figures, "link.h2d.bandwidth": faster}),
                price="the host's memory has to keep up",
            )
        )
    vram_bytes = memory.vram_bytes + _MORE_VRAM_BYTES
    found.append(
        Knob(
            name=f"8 GiB more VRAM ({format_bytes(vram_bytes)})",
            question=replace(question, vram=f"{vram_bytes} B"),
        )
    )
    bits = parse_quantisation(model.expert_quantisation).bits_per_weight
    smaller = next(
        (name for name in (_SMALL_FORMAT, _SMALLER_FORMAT) if QUANTISATIONS[name].bits_per_weight < bits), None
    )
    if smaller is not None:
        found.append(
            Knob(
                name=f"experts in {smaller} ({float(QUANTISATIONS[smaller].bits_per_weight):g} of {float(bits):g} bit)",
                question=replace(question, experts_format=smaller),
                price="quality: not estimated here",
            )
        )
    if not memory.fits_without_offloading:
        found += [
            Knob(
                name="missing experts on the CPU",
                question=replace(question, policies={**question.policies, "miss": "cpu"}),
                price="the CPU is busy",
            ),
            Knob(
                name="prefetch by gate lookahead",
                question=replace(question, policies={**question.policies, "prefetch": "gate_lookahead"}),
                price="needs a runtime that looks ahead; its recall is published for other models",
            ),
        ]
    return found
