"""Steps of which only the number of tokens, their contexts and the requests count, as cost models see them."""

from collections.abc import Sequence

from simulator.workload.request import Request
from simulator.workload.step import Step

ROUTING = ((0,),)


def _requests(num: int) -> list[Request]:
    return [Request(index=at, sequence=at, prompt_tokens=0, total_tokens=1) for at in range(num)]


def decode(contexts: Sequence[int]) -> Step:
    """Make a decode step with one token for each context."""
    requests = _requests(len(contexts))
    return Step(
        is_prefill=False, tokens=[ROUTING] * len(contexts), contexts=contexts, requests=requests, emits=requests
    )


def prefill(num_tokens: int, *, first_context: int = 1, emits: bool = True) -> Step:
    """Make a prefill step of one request."""
    requests = _requests(1)
    return Step(
        is_prefill=True,
        tokens=[ROUTING] * num_tokens,
        contexts=range(first_context, first_context + num_tokens),
        requests=requests,
        emits=requests if emits else [],
    )
