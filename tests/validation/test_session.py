"""A model behind a cache of experts computes what it computed before, whatever the policies."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pytest

pytest.importorskip("torch")

import torch
import transformers
from torch import Tensor

from hardware_profiles.errors import InputError
from simulator.eviction import EVICTION
from simulator.miss import MISS, MissAction
from simulator.prefetch import PREFETCH
from simulator.view import View
from tests.capture.families import EXPERTS, TOP_K, VOCABULARY, build
from validation.runtime.device import CpuDevice
from validation.runtime.offload import OffloadedModel, offload
from validation.runtime.session import Session
from validation.runtime.throttle import Throttle

FAMILIES = ["mixtral", "qwen3_moe", "gpt_oss", "olmoe", "deepseek_v2", "glm4_moe"]
PROMPT = torch.randint(3, VOCABULARY, (2, 6), generator=torch.Generator().manual_seed(7))


class EveryOther:
    """Leave every other missing expert to the CPU."""

    def __init__(self, view: View) -> None:
        del view

    def decide(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[MissAction]:
        """Alternate."""
        del num_tokens
        return [MissAction.CPU if index % 2 else MissAction.FETCH for index in range(len(keys))]


POLICIES: Mapping[str, Mapping[str, Callable[[View], object]]] = {
    "lru": {},
    "lfu, all on the CPU": {"eviction": EVICTION["lfu"], "miss": MISS["cpu"]},
    "fifo, some on the CPU, lookahead": {
        "eviction": EVICTION["fifo"],
        "miss": EveryOther,
        "prefetch": partial(PREFETCH["gate_lookahead"], distance=1),
    },
    "lookahead": {"prefetch": partial(PREFETCH["gate_lookahead"], distance=1, experts=1)},
}


def run(model: transformers.PreTrainedModel) -> list[Tensor]:
    """Return the logits of a prompt of two rows, then of three more tokens of each."""
    with torch.no_grad():
        output = model(input_ids=PROMPT, use_cache=True)
        found = [output.logits]
        for token in range(3, 6):
            ids = torch.tensor([[token], [token + 10]])
            output = model(input_ids=ids, past_key_values=output.past_key_values, use_cache=True)
            found.append(output.logits)
    return found


def _num_slots(taken: OffloadedModel) -> int:
    """Return room for one token's experts in each layer, and one more."""
    return taken.num_layers * (taken.top_k + 1)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("policies", POLICIES)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_logits_are_those_of_the_model_before(family: str, policies: str, dtype: torch.dtype, bound: float) -> None:
    """Prefill of more experts than the cache holds, then decoding, over a slow link."""
    model = build(family).to(dtype)
    model.set_experts_implementation("eager")
    expected = run(model)
    taken = offload(model, CpuDevice())
    throttle = Throttle(bandwidth_bytes_per_s=2e8, latency_s=2e-5)
    with Session(taken, CpuDevice(), num_slots=_num_slots(taken), throttle=throttle, **POLICIES[policies]) as session:  # type: ignore[arg-type]
        found = run(model)
        counters = session.counters()
    assert float(expected[0].std()) > 1e-3
    for one, other in zip(found, expected, strict=True):
        assert float((one - other).abs().max()) < bound
    accesses = sum(counters.accesses)
    assert accesses == sum(counters.hits) + sum(counters.late_hits) + sum(counters.misses)
    assert counters.demand_transfers == sum(counters.misses) - sum(counters.cpu_experts)
    assert (sum(counters.cpu_experts) > 0) == ("CPU" in policies)
    assert (counters.prefetches_issued > 0) == ("lookahead" in policies)
    assert accesses >= taken.num_layers * 4 * TOP_K
    assert sum(counters.accesses) <= taken.num_layers * 4 * EXPERTS


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_generation_gives_the_same_tokens(family: str) -> None:
    """Ten tokens for each of two rows."""
    model = build(family).double()
    model.set_experts_implementation("eager")
    model.generation_config.eos_token_id = None
    options = {"input_ids": PROMPT, "max_new_tokens": 10, "do_sample": False, "pad_token_id": 0}
    expected = model.generate(**options)
    taken = offload(model, CpuDevice())
    with Session(taken, CpuDevice(), num_slots=_num_slots(taken)):
        found = model.generate(**options)
    assert found.tolist() == expected.tolist()


def test_the_order_of_arrival_changes_no_bit() -> None:
    """The same model behind caches of different sizes and policies gives the same float32, to the last bit."""
    taken = offload(build("qwen3_moe"), CpuDevice())
    outcomes = []
    for num_slots, miss in ((_num_slots(taken), MISS["fetch"]), (_num_slots(taken) + 9, EveryOther)):
        with Session(taken, CpuDevice(), num_slots=num_slots, miss=miss):
            outcomes.append(run(taken.model))
    assert all(torch.equal(one, other) for one, other in zip(*outcomes, strict=True))


def test_a_cache_that_is_too_small_is_refused() -> None:
    """The message says how many slots it needs: one token's experts, and one for each layer."""
    taken = offload(build("mixtral"), CpuDevice())
    with pytest.raises(InputError, match=f"is 1; a run needs {max(taken.num_layers, TOP_K)} or more"):
        Session(taken, CpuDevice(), num_slots=1)


@pytest.mark.parametrize("policies", [{"eviction": EVICTION["belady"]}, {"prefetch": PREFETCH["perfect"]}])
def test_oracles_are_refused(policies: Mapping[str, Callable[[View], object]]) -> None:
    """A live model cannot tell what it will route."""
    taken = offload(build("mixtral"), CpuDevice())
    with pytest.raises(InputError, match="needs to know the routing to come"):
        Session(taken, CpuDevice(), num_slots=_num_slots(taken), **policies)  # type: ignore[arg-type]
