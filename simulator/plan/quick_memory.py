"""Where the bytes of a model go on a machine: what stays in VRAM, what in RAM, and what does not fit.

The host keeps a copy of every expert, also of those that are resident on the GPU, as the simulated runtime does.

Limits: those of `simulator.memory`; prompts are prefilled in chunks of `PREFILL_TOKENS`; what the operating system and the
runtime take of the host's memory is not counted.
"""

from dataclasses import dataclass

from simulator.lay_out import smallest_cache
from simulator.memory import memory_budget
from simulator.model.footprint import expert_bytes, num_routed_experts
from simulator.model.quantisation import parse_quantisation
from simulator.model.spec import moe_layers
from simulator.plan.quick_question import Question, model_of, profile_of

PREFILL_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes by use. `short` figures are 0 where there is enough; `resident_experts` is what the GPU has room for."""

    vram_bytes: int
    reserve_bytes: int
    non_expert_bytes: int
    kv_cache_bytes: int
    activation_bytes: int
    left_for_experts_bytes: int
    expert_bytes: int
    num_experts: int
    all_experts_bytes: int
    resident_experts: int
    smallest_experts: int
    vram_short_bytes: int
    ram_bytes: int
    ram_short_bytes: int
    ram_short_without_copies_bytes: int

    @property
    def fits(self) -> bool:
        """Whether the GPU has room for a run at all, and the host for what the GPU has not."""
        return self.vram_short_bytes == 0 and self.ram_short_without_copies_bytes == 0

    @property
    def fits_without_offloading(self) -> bool:
        """Whether the GPU holds every expert."""
        return self.resident_experts == self.num_experts


def memory_of(question: Question) -> Memory:
    """Divide the machine's memory. Raises InputError for what is wrong with the question's names."""
    model, profile = model_of(question), profile_of(question)
    budget = memory_budget(
        model,
        profile,
        parse_quantisation(question.kv_format),
        batch=question.batch,
        longest_context=question.context_tokens,
        largest_step_tokens=max(question.batch, min(PREFILL_TOKENS, question.context_tokens)),
    )
    each, num_experts = expert_bytes(model), num_routed_experts(model)
    left = budget.expert_cache_bytes
    smallest = smallest_cache(num_banks=len(moe_layers(model)), top_k=model.top_k, scope="per_layer")
    resident = min(num_experts, max(0, left) // each)
    ram_bytes = int(profile.host.memory.value)
    return Memory(
        vram_bytes=budget.capacity_bytes,
        reserve_bytes=budget.reserve_bytes,
        non_expert_bytes=budget.non_expert_bytes,
        kv_cache_bytes=budget.kv_cache_bytes,
        activation_bytes=budget.activation_bytes,
        left_for_experts_bytes=left,
        expert_bytes=each,
        num_experts=num_experts,
        all_experts_bytes=num_experts * each,
        resident_experts=resident,
        smallest_experts=smallest,
        vram_short_bytes=max(0, smallest * each - left),
        ram_bytes=ram_bytes,
        ram_short_bytes=0 if resident == num_experts else max(0, num_experts * each - ram_bytes),
        ram_short_without_copies_bytes=max(0, (num_experts - resident) * each - ram_bytes),
    )
