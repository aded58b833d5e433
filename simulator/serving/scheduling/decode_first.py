"""Output tokens before prompts."""


class DecodeFirst:
    """Run prompts only when nothing decodes: a batch is begun together and decodes until the last of it has ended.

    No output token ever waits for another request's prompt, at the cost of the time to the first one.

    Source: FasterTransformer's batching, as "decode-prioritizing" in Sarathi-Serve, arXiv 2403.02310, section 2.3.
    """

    mixes = False

    def __init__(self, *, max_step_tokens: int) -> None:
        self._max_step_tokens = max_step_tokens

    def prompt_tokens(self, num_decoding: int) -> int:
        """Return a whole step's worth if nothing decodes."""
        return 0 if num_decoding else self._max_step_tokens
