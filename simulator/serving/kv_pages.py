"""The bytes of a request's KV cache, page by page.

A page holds the keys and values of so many tokens in all layers of one kind. A layer with a sliding or chunked window
keeps the pages of its window; a linear layer keeps a state of fixed size.

Source: PagedAttention, arXiv 2309.06180, section 4; pages by kind of layer as in Jenga, arXiv 2503.18292.

Limits: a window never needs the one page more that it takes when it does not begin at the start of a page; no page is
shared among requests.
"""

from collections import defaultdict

from simulator.model.footprint import kv_bytes_per_token, state_bytes
from simulator.model.quantisation import Quantisation
from simulator.model.spec import ModelSpec, attention_kind


class KvPages:
    """Work out what a request of some tokens takes."""

    def __init__(self, model: ModelSpec, kv_cache: Quantisation, page_tokens: int) -> None:
        bytes_per_value = kv_cache.bits_per_weight / 8
        self.page_tokens = page_tokens
        self.state_bytes = sum(state_bytes(model, layer, bytes_per_value) for layer in range(model.num_layers))
        of_kind: defaultdict[int | None, int] = defaultdict(int)
        for layer in range(model.num_layers):
            num_bytes = kv_bytes_per_token(model, layer, bytes_per_value)
            if num_bytes:
                is_full = attention_kind(model, layer) == "full"
                of_kind[None if is_full else model.attention_window] += num_bytes
        self._kinds = [
            (None if window is None else -(-window // page_tokens), num_bytes * page_tokens)
            for window, num_bytes in of_kind.items()
        ]
        self._known = [self.state_bytes]  # by number of pages

    def bytes_of(self, num_tokens: int) -> int:
        """Return the bytes of the cache of a request of so many tokens."""
        num_pages = -(-num_tokens // self.page_tokens)
        known = self._known
        while len(known) <= num_pages:
            new_page = len(known)
            known.append(known[-1] + sum(size for most, size in self._kinds if most is None or new_page <= most))
        return known[num_pages]

    def rounded_up(self, num_tokens: int) -> int:
        """Return for how many tokens the pages of so many suffice."""
        return -(-num_tokens // self.page_tokens) * self.page_tokens
