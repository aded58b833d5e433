"""A request: one recorded sequence to be served, and what became of it."""


class Request:
    """One sequence of the trace in the run. Times are engine time in ns, -1 where the event has not come.

    `started_ns` is when it took its place in the batch; `first_token_ns` and `last_token_ns` when its output tokens came
    out; `output_tokens` how many have. `measured_from_ns` and `measured_tokens` say the same of the tokens after the
    warm-up.
    """

    __slots__ = (
        "finished",
        "first_token_ns",
        "index",
        "last_token_ns",
        "measured_from_ns",
        "measured_tokens",
        "output_tokens",
        "prompt_tokens",
        "sequence",
        "started_ns",
        "total_tokens",
    )

    def __init__(self, *, index: int, sequence: int, prompt_tokens: int, total_tokens: int) -> None:
        self.index = index
        self.sequence = sequence
        self.prompt_tokens = prompt_tokens
        self.total_tokens = total_tokens
        self.started_ns = -1
        self.first_token_ns = -1
        self.last_token_ns = -1
        self.output_tokens = 0
        self.measured_from_ns = -1
        self.measured_tokens = 0
        self.finished = False
