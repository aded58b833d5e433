"""Divide a layer's experts between GPU, CPU and link by what is done soonest."""

from collections import Counter
from collections.abc import Sequence

from simulator.miss.protocol import MissAction
from simulator.schedule import Scheduler
from simulator.view import View


class HybridSchedule:
    """Simulate the layer on GPU, CPU and link, and do what came out: fetch, leave to the CPU, share with it.

    Missing experts are fetched, the heaviest first, or left to the CPU, the lightest first; with `shares`, a CPU that
    would idle takes light resident experts too. `cpu_warmup_frac` is by how much the CPU's first expert is slower.

    Source: HybriMoE, arXiv 2504.05897, section 4.2; see simulator/schedule.py. By how much the first expert is slower was
    not published: 0 by default.

    Limits: an expert in flight counts as resident, which flatters the GPU; where nothing is missing, the CPU may take
    resident experts all the same.
    """

    def __init__(self, view: View, *, cpu_warmup_frac: float = 0.0, shares: bool = True) -> None:
        self._view = view
        self._scheduler = Scheduler(view.costs, cpu_warmup_frac=cpu_warmup_frac, cpu_takes_resident=shares)
        self._shares = shares
        self._planned: int | None = None  # the visit that `_on_cpu` is for
        self._on_cpu: Sequence[int] = ()

    def decide(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[MissAction]:
        """Schedule the missing `keys` along with what else the gate has picked."""
        missing = set(keys)
        there = Counter(key for token in self._view.picks() for key in token if key not in missing)
        plan = self._scheduler.schedule(
            [
                *((key, tokens, False) for key, tokens in zip(keys, num_tokens, strict=True)),
                *((key, tokens, True) for key, tokens in there.items()),
            ]
        )
        self._planned, self._on_cpu = self._view.visit, plan.on_cpu
        return [MissAction.CPU if key in plan.on_cpu else MissAction.FETCH for key in keys]

    def share(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[int]:
        """Name the resident experts that the schedule gives to the CPU, in its order."""
        if not self._shares:
            return ()
        if self._planned != self._view.visit:  # nothing was missing
            there = ((key, tokens, True) for key, tokens in zip(keys, num_tokens, strict=True))
            return self._scheduler.schedule(there).on_cpu
        return [key for key in self._on_cpu if key in keys]
