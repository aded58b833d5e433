"""Output tokens and chunks of prompts in one step."""


class Mixed:
    """Every step holds a token of each request that decodes, and fills up with chunks of prompts.

    No output token waits for a whole prompt: a step's tokens bound its time.

    Source: Sarathi-Serve, arXiv 2403.02310, section 4.2 (stall-free batching); vLLM 1.x schedules so by default.
    """

    mixes = True

    def __init__(self, *, max_step_tokens: int) -> None:
        self._max_step_tokens = max_step_tokens

    def prompt_tokens(self, num_decoding: int) -> int:
        """Return what the tokens that decode leave."""
        return max(0, self._max_step_tokens - num_decoding)
