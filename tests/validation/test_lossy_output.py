"""Behind a lossy policy a model computes just what the policy says: no more is lost, and no less."""

from collections.abc import Callable, Mapping, Sequence

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor

from hardware_profiles.errors import InputError
from simulator.miss import MISS, Miss, MissAction
from simulator.miss.protocol import DROPPED
from simulator.order import ORDER
from simulator.view import View
from tests.capture.families import VOCABULARY, build
from tests.validation.plain_visits import PlainVisits, Said, plain_low
from validation.runtime.device import CpuDevice
from validation.runtime.offload import OffloadedModel, offload
from validation.runtime.session import Session
from validation.runtime.throttle import Throttle

FAMILIES = ["mixtral", "gpt_oss", "deepseek_v2"]
PROMPT = torch.randint(3, VOCABULARY, (2, 6), generator=torch.Generator().manual_seed(7))
SLOW = Throttle(bandwidth_bytes_per_s=2e8, latency_s=2e-5)


class Plain:
    """Picks stand; what is missing is handled by key."""

    actions: Sequence[MissAction] = (MissAction.FETCH,)

    def __init__(self, view: View) -> None:
        self.view = view

    def decide(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[MissAction]:
        """Take one of the actions, by key."""
        del num_tokens
        return [self.actions[key % len(self.actions)] for key in keys]


class DropMissing(Plain):
    """Do without all that is missing, but for what the first token of a step wants most."""

    def reroute(self) -> Sequence[Sequence[int]]:
        """Drop."""
        view = self.view
        return [
            [key if view.is_resident(key) or token == rank == 0 else DROPPED for rank, key in enumerate(row)]
            for token, row in enumerate(view.picks())
        ]

    def similarity(self, wanted: int, substitute: int) -> float:
        """Nothing is substituted."""
        return float(wanted == substitute)


class NextResident(Plain):
    """Take the next expert by number that is resident and not used, where there is one, for each that is missing."""

    def reroute(self) -> Sequence[Sequence[int]]:
        """Substitute."""
        return [self._row(row) for row in self.view.picks()]

    def _row(self, row: Sequence[int]) -> Sequence[int]:
        view, taken = self.view, list(row)
        first_key = view.first_key(view.visit % view.num_layers)
        for rank, key in enumerate(row):
            others = [first_key + (key - first_key + step) % view.num_experts for step in range(1, view.num_experts)]
            free = [other for other in others if view.is_resident(other) and other not in taken]
            if not view.is_resident(key) and free:
                taken[rank] = free[0]
        return taken

    def similarity(self, wanted: int, substitute: int) -> float:
        """Half alike."""
        return 1.0 if wanted == substitute else 0.5


class DeferMost(Plain):
    """Let the CPU finish two of three later, and the third at once."""

    LOSSY = True
    actions = (MissAction.DEFER, MissAction.DEFER, MissAction.CPU)


class Mixed(Plain):
    """Everything at once."""

    LOSSY = True
    actions = (MissAction.DEFER, MissAction.FETCH, MissAction.LOW, MissAction.CPU)


class AllLow(Plain):
    """Low-precision copies alone."""

    LOSSY = True
    actions = (MissAction.LOW,)


class Early(Plain):
    """Leave all misses to the CPU, which begins with every other expert of the next layer."""

    actions = (MissAction.CPU,)

    def start_early(self) -> Mapping[int, int]:
        """Begin."""
        view = self.view
        first_key = view.first_key(view.visit % view.num_layers + 1)
        return dict.fromkeys(range(first_key, first_key + view.num_experts, 2), 1)


class SharesAll(Plain):
    """Leave resident experts to the CPU as well."""

    actions = (MissAction.FETCH, MissAction.CPU)

    def share(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[int]:
        """All that are even."""
        del num_tokens
        return [key for key in keys if key % 2 == 0]


class Backwards:
    """Compute the experts strictly by falling key."""

    IN_TURN = True

    def __init__(self, view: View) -> None:
        del view

    def arrange(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[int]:
        """Sort."""
        del num_tokens
        return sorted(keys, reverse=True)


POLICIES: Mapping[str, tuple[type[Plain], str, Mapping[str, object]]] = {
    "drop": (DropMissing, "dropped_picks", {}),
    "substitute": (NextResident, "substituted_picks", {}),
    "defer": (DeferMost, "deferred_experts", {"num_cpu_workers": 2}),
    "early": (Early, "cpu_experts", {"num_cpu_workers": 2}),
    "share": (SharesAll, "cpu_experts", {}),
    "low": (AllLow, "low_experts", {"low_precision": "6 bit", "num_low_slots": 24}),
    "mixed, in turn": (
        Mixed,
        "low_experts",
        {"low_precision": "6 bit", "num_low_slots": 24, "order": Backwards, "staging": 3},
    ),
}


def run(model: torch.nn.Module) -> list[Tensor]:
    """Return the logits of a prompt of two rows, then of four more tokens of each."""
    with torch.no_grad():
        output = model(input_ids=PROMPT, use_cache=True)
        found = [output.logits]
        for token in range(3, 7):
            ids = torch.tensor([[token], [token + 10]])
            output = model(input_ids=ids, past_key_values=output.past_key_values, use_cache=True)
            found.append(output.logits)
    return found


def listened(make: Callable[[View], Miss], said: Said) -> Callable[[View], Miss]:
    """Return what builds a policy whose words are noted."""
    return lambda view: said.listen(make(view), view)


def furthest(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Return the largest difference."""
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


def compare(taken: OffloadedModel, policy: str, dtype: torch.dtype) -> tuple[float, float]:
    """Return how far a model behind a policy is from the plain reference, and from the model that loses nothing."""
    make, counter, options = POLICIES[policy]
    said = Said()
    with Session(
        taken,
        CpuDevice(),
        num_slots=taken.num_layers * (taken.top_k + 1),
        miss=listened(make, said),
        throttle=SLOW,
        **options,  # type: ignore[arg-type]
    ) as session:
        found = run(taken.model)
        counted = sum(getattr(session.counters(), counter))
    assert counted > 0, "the case does what it is there for"
    taken.visit = PlainVisits(taken, said, low=plain_low(taken, bits=4, group=8))
    expected = run(taken.model)
    taken.visit = taken.visit_from_host
    lossless = run(taken.model)
    taken.visit = None
    assert found[0].dtype is dtype
    return furthest(found, expected), furthest(found, lossless)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_output_is_what_the_policy_says(family: str, policy: str, dtype: torch.dtype, bound: float) -> None:
    """Against a reference that goes token by token; only what is lossy differs from the model itself."""
    taken = offload(build(family).to(dtype), CpuDevice())
    from_reference, from_model = compare(taken, policy, dtype)
    assert from_reference < bound
    assert (from_model > 100 * bound) == (policy != "share")


def test_experts_that_are_done_without_leave_the_others_their_weights() -> None:
    """One token, two experts of weights 3/4 and 1/4, the weaker dropped: three quarters of the stronger, no more."""
    taken = offload(build("mixtral").double(), CpuDevice())
    hidden_NH = torch.ones((1, taken.expert_module(0).hidden_dim), dtype=torch.float64)
    ids_NK, weights_NK = torch.tensor([[1, 2]]), torch.tensor([[0.75, 0.25]], dtype=torch.float64)

    class Second(DropMissing):
        def reroute(self) -> Sequence[Sequence[int]]:
            return [[row[0], DROPPED] for row in self.view.picks()]

    num_slots = taken.num_layers * taken.top_k
    with Session(taken, CpuDevice(), num_slots=num_slots, miss=Second):
        assert taken.visit is not None
        found = taken.visit(0, hidden_NH, ids_NK, weights_NK)
    alone = taken.visit_from_host(0, hidden_NH, ids_NK[:, :1], weights_NK[:, :1])
    assert torch.equal(found, alone)


def test_reading_in_place_is_refused() -> None:
    """Beforehand where the policy says that it does so, else when it does."""
    taken = offload(build("mixtral"), CpuDevice())

    class Sudden(Plain):
        actions = (MissAction.IN_PLACE,)

    num_slots = taken.num_layers * taken.top_k
    with pytest.raises(InputError, match="cannot be read where they lie"):
        Session(taken, CpuDevice(), num_slots=num_slots, miss=MISS["in_place"])
    with (
        Session(taken, CpuDevice(), num_slots=num_slots, miss=Sudden),
        pytest.raises(InputError, match="cannot be read where they lie"),
    ):
        run(taken.model)


def test_copies_need_slots_and_a_format() -> None:
    """Each message says which is missing."""
    taken = offload(build("mixtral"), CpuDevice())
    num_slots = taken.num_layers * taken.top_k
    with pytest.raises(InputError, match="low_precision: is missing"):
        Session(taken, CpuDevice(), num_slots=num_slots, num_low_slots=12)
    with pytest.raises(InputError, match="bf16 takes 16 bit per weight"):
        Session(taken, CpuDevice(), num_slots=num_slots, num_low_slots=12, low_precision="bf16")
    with pytest.raises(InputError, match="num_low_slots: is 0"):
        Session(taken, CpuDevice(), num_slots=num_slots, miss=MISS["low_precision"])


def test_orders_that_ship_change_nothing() -> None:
    """The same bits, whatever the order in which experts are computed."""
    taken = offload(build("qwen3_moe"), CpuDevice())
    outcomes = []
    for make in ORDER.values():
        with Session(taken, CpuDevice(), num_slots=taken.num_layers * taken.num_experts, order=make):
            outcomes.append(run(taken.model))
    assert all(furthest(outcomes[0], other) == 0 for other in outcomes[1:])
