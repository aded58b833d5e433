"""What an exchange of tokens costs, by hand."""

from fractions import Fraction

from simulator.gpus.exchange import Exchange, Port

GB = 10**9
SENT = [[0, 3, 1], [2, 0, 0], [0, 0, 0]]
"""GPU 0 sends 4 tokens, GPU 1 sends 2; 2, 3 and 1 come in."""


def port(bytes_per_s: int, latency_ns: int) -> Port:
    """Return a port in whole numbers."""
    return Port(bandwidth=Fraction(bytes_per_s), latency_ns=Fraction(latency_ns))


def test_the_busiest_port_sets_the_pace() -> None:
    """4 tokens of 1000 bytes leave GPU 0 at 10 GB/s; on the way back as many come in there."""
    exchange = Exchange(1000, port(10 * GB, 50))
    assert exchange.ns(SENT) == 50 + 400
    assert exchange.ns(SENT, is_back=True) == 50 + 400


def test_rounded_up_once() -> None:
    """A byte at 3 GB/s takes a third of a nanosecond, after half a one."""
    exchange = Exchange(1, Port(bandwidth=Fraction(3 * GB), latency_ns=Fraction(1, 2)))
    assert exchange.ns([[0, 1], [0, 0]]) == 1


def test_nothing_to_send_costs_the_latency() -> None:
    """Nobody knows beforehand."""
    assert Exchange(1000, port(GB, 70)).ns([[0, 0], [0, 0]]) == 70


def test_through_the_host_one_way_after_the_other() -> None:
    """4 tokens out at 10 GB/s, then 3 in at 5 GB/s; back, 3 out and 4 in."""
    ways = (port(10 * GB, 30), port(5 * GB, 40))
    exchange = Exchange(1000, ways)
    assert exchange.ns(SENT) == 30 + 400 + 40 + 600
    assert exchange.ns(SENT, is_back=True) == 30 + 300 + 40 + 800


def test_through_the_host_upstream_carries_all() -> None:
    """6 tokens at 8 GB/s take longer than 4 at 10 GB/s, and than 3 at 5 GB/s."""
    ways = (port(10 * GB, 30), port(5 * GB, 40))
    assert Exchange(1000, ways, 8 * GB).ns(SENT) == 30 + 750 + 40 + 750
