"""Compute that begins before its expert has arrived in full: tile by tile, as tiles come in.

A transfer's bytes are T tiles of the same size, and the kernel of its expert is T kernels of the same length. A tile is
computed when it has arrived and the one before it is done. With t_i the arrival of tile i and c_0 the time at which the
stream is free,

    c_i = max(c_{i-1}, t_i) + kernel / T + (overhead, from the second tile on)

and the expert is done at c_T, rounded up once. One tile is the kernel as a whole, after the transfer.

Source: the tile-wise transfers of AdapMoE (arXiv 2408.10284), whose copies of an expert's matrices are computed with as
they arrive; the overlap of tiles by Comet (arXiv 2502.19811). The overhead of a further tile is ours, zero by default.

Limits: tiles are alike in bytes and in work, whatever an expert's matrices are; within a stretch of service bytes arrive
evenly, so a transfer's latency is spread over its tiles, and so is what other traffic to host memory takes from it; the
stream does nothing else between an expert's tiles.
"""

from collections.abc import Sequence
from fractions import Fraction

from simulator.resources.transfers import Stretch


def tile_arrivals_ns(stretches: Sequence[Stretch], num_tiles: int) -> list[Fraction]:
    """Return when each tile has arrived, exactly, given all stretches of service of a transfer, in order.

    A tile that is complete at the very end of a stretch arrives then, not when the service goes on.
    """
    total_ns = sum(stretch.served_ns for stretch in stretches)
    arrivals_ns = []
    index, before_ns = 0, 0
    for tile in range(1, num_tiles + 1):
        target_ns = Fraction(total_ns * tile, num_tiles)
        while before_ns + stretches[index].served_ns < target_ns:
            before_ns += stretches[index].served_ns
            index += 1
        start_ns, end_ns, served_ns = stretches[index]
        part = (target_ns - before_ns) / served_ns if served_ns else Fraction(1)
        arrivals_ns.append(start_ns + part * (end_ns - start_ns))
    return arrivals_ns


def tiled_end_ns(
    *, stream_free_ns: int, stretches: Sequence[Stretch], num_tiles: int, kernel_ns: int, overhead_ns: int = 0
) -> int:
    """Return when an expert has been computed that arrives in `stretches`; the stream is free from `stream_free_ns` on.

    `kernel_ns` is the kernel as a whole, `overhead_ns` what each tile but the first adds to it. Of the time from
    `stream_free_ns` on, the stream works for kernel_ns + (num_tiles - 1) * overhead_ns and waits for the rest. Raises
    ValueError for less than one tile, no stretch, or a negative duration.
    """
    if num_tiles < 1:
        raise ValueError(f"num_tiles is {num_tiles}; it should be 1 or more")
    if not stretches:
        raise ValueError("stretches is empty; it should name those of a transfer that has ended")
    if kernel_ns < 0 or overhead_ns < 0:
        raise ValueError(f"kernel_ns is {kernel_ns} and overhead_ns {overhead_ns}; they should be 0 or more")
    end_ns = Fraction(stream_free_ns)
    for tile, arrival_ns in enumerate(tile_arrivals_ns(stretches, num_tiles)):
        end_ns = max(end_ns, arrival_ns) + Fraction(kernel_ns, num_tiles) + (overhead_ns if tile else 0)
    return -(-end_ns.numerator // end_ns.denominator)
