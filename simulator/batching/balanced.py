"""Several steps per round, alike in the tokens that they attend to."""

from collections.abc import Sequence

from simulator.batching.micro_batches import checked_count, group_sizes
from simulator.workload.step import TokenRouting


class Balanced:
    """Divide a round's sequences among `count` micro-batches so that their context lengths add up to about the same.

    The longest comes first, each goes to the micro-batch with the least context so far that has room, ties to the first. No
    micro-batch has more than its even share of sequences, rounded up.

    Source: S. Cao et al.: "MoE-Lightning: high-throughput MoE inference on memory-constrained GPUs", arXiv 2411.11217:
    requests by falling length, each to the least loaded micro-batch.

    Limits: theirs divides requests once, by prompt, as they arrive; this one divides each round anew.
    """

    def __init__(self, *, count: int = 2) -> None:
        self._count = checked_count(count)

    def groups(self, tokens: Sequence[TokenRouting], contexts: Sequence[int]) -> Sequence[Sequence[int]]:
        """Return groups in order of first appearance, each in batch order."""
        most = group_sizes(len(tokens), self._count)[0]
        members: list[list[int]] = [[] for _ in range(min(self._count, len(tokens)))]
        load = [0] * len(members)
        for index in sorted(range(len(tokens)), key=lambda index: -contexts[index]):
            with_room = [group for group in range(len(members)) if len(members[group]) < most]
            group = min(with_room, key=lambda group: load[group])
            members[group].append(index)
            load[group] += contexts[index]
        return sorted(sorted(group) for group in members)
