"""The contract of a scheduling policy: what the next step is made of."""

from typing import Protocol


class Scheduling(Protocol):
    """Say, before each step, how many tokens of prompts it may hold. Built as `Policy(max_step_tokens=...)`.

    `mixes` says whether tokens that decode share a step with chunks of prompts. Where they don't, a step holds prompts if
    the policy lets it and there is one that has room, and decodes otherwise.
    """

    mixes: bool

    def prompt_tokens(self, num_decoding: int) -> int:
        """Return at most how many tokens of prompts the next step may hold; `num_decoding` requests decode."""
