"""Which GPU holds which request, and each GPU's share of a step.

A request has its KV cache on one GPU, from its first token to its last: the one that then holds the fewest that have not
ended, the first of those. Its tokens' non-expert work is done there.

Limits: a request never moves; its place does not depend on how long it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from simulator.workload.contexts import Contexts
from simulator.workload.request import Request
from simulator.workload.step import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Divided:
    """A step divided: `gpu_of_token` [n], and the share of each GPU as a step, perhaps without tokens."""

    gpu_of_token: Sequence[int]
    shares: Sequence[Step]


class Shares:
    """Give requests to GPUs as they begin, and divide steps."""

    def __init__(self, num_gpus: int) -> None:
        self._num_gpus = num_gpus
        self._held: dict[int, tuple[Request, int]] = {}  # by index: requests that have begun and not ended, their GPUs

    def divide(self, step: Step) -> Divided:
        """Divide a step; called once for each, in order."""
        for request in step.requests:
            if request.index not in self._held:
                self._held[request.index] = (request, self._emptiest())
        owners = _owners(step)
        gpu_of_token = [self._held[owner][1] for owner in owners]
        gpu_of_request = {request.index: self._held[request.index][1] for request in step.requests}
        for request in step.ends:
            del self._held[request.index]
        if self._num_gpus == 1:
            return Divided(gpu_of_token=gpu_of_token, shares=[step])
        shares = [_share(step, owners, gpu_of_token, gpu_of_request, gpu) for gpu in range(self._num_gpus)]
        return Divided(gpu_of_token=gpu_of_token, shares=shares)

    def _emptiest(self) -> int:
        for index in [index for index, (request, _) in self._held.items() if request.finished]:
            del self._held[index]
        holding = [0] * self._num_gpus
        for _, gpu in self._held.values():
            holding[gpu] += 1
        return holding.index(min(holding))


def _owners(step: Step) -> Sequence[int]:
    """Return the request of each token, by its number."""
    if step.request_of_token is not None:
        return step.request_of_token
    if len(step.requests) == 1:
        return [step.requests[0].index] * len(step.tokens)
    return [request.index for request in step.requests]


def _share(
    step: Step, owners: Sequence[int], gpu_of_token: Sequence[int], gpu_of_request: dict[int, int], gpu: int
) -> Step:
    """Return what one GPU has of a step."""
    at = [token for token, home in enumerate(gpu_of_token) if home == gpu]
    if len(at) == len(gpu_of_token):
        return step
    return replace(
        step,
        tokens=[step.tokens[token] for token in at],
        contexts=_contexts(step.contexts, gpu_of_token, gpu),
        requests=[request for request in step.requests if gpu_of_request[request.index] == gpu],
        emits=[request for request in step.emits if gpu_of_request[request.index] == gpu],
        weights=None if step.weights is None else [step.weights[token] for token in at],
        lookahead=None if step.lookahead is None else [step.lookahead[token] for token in at],
        visits=None,
        request_of_token=[owners[token] for token in at],
    )


def _contexts(contexts: Sequence[int], gpu_of_token: Sequence[int], gpu: int) -> Sequence[int]:
    """Return one GPU's contexts; a chunk of a prompt lies on one GPU, and stays a chunk."""
    if not isinstance(contexts, Contexts):
        return [context for context, home in zip(contexts, gpu_of_token, strict=True) if home == gpu]
    num_decodes = len(contexts.decodes)
    decodes = [at for at, home in zip(contexts.decodes, gpu_of_token, strict=False) if home == gpu]
    chunks, first = [], num_decodes
    for chunk in contexts.chunks:
        if gpu_of_token[first] == gpu:
            chunks.append(chunk)
        first += len(chunk)
    return Contexts(decodes, chunks)
