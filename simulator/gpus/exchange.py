"""What it costs to send tokens among GPUs: dispatch to the experts' homes, and combine on the way back.

    bytes from GPU a to GPU b = tokens of a with a pick that b computes * hidden width * bytes of an activation
    over peers       latency + max over GPUs of max(bytes out, bytes in) / bandwidth
    through host     D2H latency + max(most bytes out / D2H bandwidth, all bytes / upstream)
                     + H2D latency + max(most bytes in / H2D bandwidth, all bytes / upstream)

A token goes once to each GPU that computes any of its picks, and one sum comes back from there. Each GPU has one port, which
sends and receives at once. An exchange costs its latency also where nothing has to move: nobody knows that beforehand.

Source: a message as latency and bytes over bandwidth, R. W. Hockney, Parallel Computing 20(3), 1994; the largest
port as the bound of an all-to-all. Once per token and GPU: the dispatch of DeepEP (deepseek-ai/DeepEP, `is_token_in_rank`).

Limits: no contention with copies of experts; bf16 both ways; ids and weights of picks, and counts, are free; nothing
overlaps with kernels; through host memory the two ways do not overlap in pieces.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from simulator.costs.exact import NS_PER_S, ceil_ns

ACTIVATION_BYTES = 2
"""The bytes of one value of a token's state, in bf16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One way to or from a GPU: bytes/s, and the time that it takes before the first byte."""

    bandwidth: Fraction
    latency_ns: Fraction


class Exchange:
    """Time an exchange. `ports` is one port for both directions, or (out, in) where the way is through host memory.

    `upstream` is the bandwidth that all GPUs share on that way, if any.
    """

    def __init__(self, token_bytes: int, ports: Port | tuple[Port, Port], upstream: int | None = None) -> None:
        self.token_bytes = token_bytes
        self._ports = ports
        self._upstream = upstream
        self._known: dict[tuple[int, int, int], int] = {}

    def ns(self, sent: Sequence[Sequence[int]], *, is_back: bool = False) -> int:
        """Return how long `sent` [N][N] tokens take, or their way back; rounded up once."""
        out = max(map(sum, sent))
        into = max(sum(column) for column in zip(*sent, strict=True))
        if is_back:
            out, into = into, out
        total = sum(map(sum, sent))
        known = self._known.get((out, into, total))
        if known is None:
            known = self._known[out, into, total] = ceil_ns(self._exact_ns(out, into, total))
        return known

    def _exact_ns(self, out: int, into: int, total: int) -> Fraction:
        if isinstance(self._ports, Port):
            return self._leg_ns(self._ports, max(out, into), 0)
        to_host, from_host = self._ports
        return self._leg_ns(to_host, out, total) + self._leg_ns(from_host, into, total)

    def _leg_ns(self, port: Port, most: int, total: int) -> Fraction:
        seconds = most * self.token_bytes / port.bandwidth
        if self._upstream is not None and total:
            seconds = max(seconds, Fraction(total * self.token_bytes, self._upstream))
        return port.latency_ns + seconds * NS_PER_S
