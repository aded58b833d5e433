"""Prompts before output tokens."""


class PrefillFirst:
    """Whenever a prompt can be run, run it, and as many as fit a step; those that decode stand still meanwhile.

    New requests get their first token soon, at the cost of the others' time between tokens.

    Source: vLLM 0.x, `Scheduler._schedule_default` (prefills are scheduled ahead of decodes, and alone); Orca, OSDI 2022,
    section 4 for scheduling by iteration.
    """

    mixes = False

    def __init__(self, *, max_step_tokens: int) -> None:
        self._max_step_tokens = max_step_tokens

    def prompt_tokens(self, num_decoding: int) -> int:
        """Return a whole step's worth."""
        del num_decoding
        return self._max_step_tokens
