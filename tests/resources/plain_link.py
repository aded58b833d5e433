"""The link once more, as a plain loop over instants and chunks, with lists: what `Link` is compared with."""

from collections.abc import Sequence

Service = tuple[int, int, int]
"""(key, start_ns, end_ns); stretches that follow one another without a gap are one."""


class PlainTransfer:
    """A transfer by its chunks: how many are done."""

    def __init__(self, key: int, *, is_demand: bool) -> None:
        self.key = key
        self.is_demand = is_demand
        self.chunks_done = 0


def plain_services(arrivals: Sequence[tuple[int, str, int]], chunk_ends_ns: Sequence[int]) -> list[Service]:
    """Serve arrivals (time, `want` or `prefetch`, key), in order of time; return the services in order of their ends.

    `want` asks for a key: a demand fetch, or, if it is under way, its promotion. `prefetch` of a key under way is void.
    At each instant: a chunk may end; if it is the last, the transfer is over; if a demand waits, a prefetch gives way. Then
    the arrivals of the instant are taken in. Then the link goes on with what it serves, or picks what comes next; a
    prefetch that is between chunks, or has not begun, gives way to a demand.
    """
    chunks_ns = [end - start for start, end in zip([0, *chunk_ends_ns], chunk_ends_ns, strict=False)]
    demands: list[PlainTransfer] = []
    prefetches: list[PlainTransfer] = []
    services: list[Service] = []
    pending = list(arrivals)
    serving: PlainTransfer | None = None
    started_ns = chunk_end_ns = 0
    is_between_chunks = False
    while pending or serving:
        instants = [pending[0][0]] if pending else []
        instants += [chunk_end_ns] if serving else []
        now_ns = min(instants)

        def stop(transfer: PlainTransfer, start_ns: int, end_ns: int) -> None:
            if end_ns > start_ns:
                services.append((transfer.key, start_ns, end_ns))

        if serving and chunk_end_ns == now_ns:
            serving.chunks_done += 1
            is_between_chunks = True
            if serving.chunks_done == len(chunks_ns):
                stop(serving, started_ns, now_ns)
                serving = None
            elif demands and not serving.is_demand:
                stop(serving, started_ns, now_ns)
                prefetches.insert(0, serving)
                serving = None
        while pending and pending[0][0] == now_ns:
            _, kind, key = pending.pop(0)
            under_way = {
                transfer.key: transfer for transfer in [*demands, *prefetches, *([serving] if serving else [])]
            }
            if key not in under_way:
                transfer = PlainTransfer(key, is_demand=kind == "want")
                (demands if transfer.is_demand else prefetches).append(transfer)
            elif kind == "want" and not under_way[key].is_demand:
                transfer = under_way[key]
                transfer.is_demand = True
                if transfer in prefetches:
                    prefetches.remove(transfer)
                    demands.append(transfer)
        if serving and is_between_chunks and demands and not serving.is_demand:
            stop(serving, started_ns, now_ns)
            prefetches.insert(0, serving)
            serving = None
        if serving is None:
            if not demands and not prefetches:
                continue
            serving = demands.pop(0) if demands else prefetches.pop(0)
            started_ns, is_between_chunks = now_ns, True
        if is_between_chunks:
            chunk_end_ns = now_ns + chunks_ns[serving.chunks_done]
            is_between_chunks = False
    return services
