"""Which recorded tokens a request is made of: pieces of a routing trace's sequences, drawn by seed.

A request of P prompt and O output tokens needs the routing of P tokens in prefill and of O - 1 in decode: the prefill puts
out the first output token, and the last one is fed to no step. Both come from one sequence as far as it goes, drawn among
those of the request's category (any where it asks for none) that are not set apart, and that have both phases if any has.
The prompt is the end of the recorded prompt, so that what follows it in the trace follows it here. Where the request is
longer than the recording, further sequences of the same category are chained, drawn by seed too: more prompt before, more
output after.

Where none of a category's sequences has a recorded prompt, or none a recorded output, both are taken from one stream of
tokens: prompt first, then output, chained at the end. The drawing notes that.

Limits: a chain's pieces have nothing to do with each other, so that routing is less alike from token to token where two
meet, about once per recorded length; tokens that stand for another phase may ask for other experts than its own would.
Sequences repeat in a long run: a policy that remembers them sees more of a pattern than a service's traffic has.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from hardware_profiles.suggest import nearest_first
from simulator.workload.arrivals import Arrival
from simulator.workload.randomness import stream
from traces.errors import TraceError
from traces.format import Trace

_MOST_NAMED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Tokens start up to stop of a recorded sequence, counted from its first."""

    sequence: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What a request is made of: its prompt's tokens, and the output tokens that are fed back, one less than it puts out.

    `chained` says whether it took more than one run of tokens, of several sequences or of one again and again.
    """

    prompt: tuple[Piece, ...]
    decode: tuple[Piece, ...]
    chained: bool


class Drawing:
    """Draw requests from a trace. Same seed, same number of the request: same pieces.

    `sequences` are those that may be drawn (all by default). Requests are numbered as they come; with `by_session`, each
    session's apart, so that a closed loop's requests don't depend on who was served first (memory is then a number per
    session). Raises TraceError for a category that the trace does not have.
    """

    def __init__(
        self, trace: Trace, seed: int, *, sequences: Sequence[int] | None = None, by_session: bool = False
    ) -> None:
        self._trace, self._seed, self._by_session = trace, seed, by_session
        self._allowed = range(trace.num_sequences) if sequences is None else sequences
        if not self._allowed:
            raise TraceError(trace.path, "has no sequence left to draw requests from; set fewer apart")
        self._pools: dict[str | None, _Pool] = {}
        self._categories = _categories(trace)
        self._counts: dict[int | None, int] = {}
        self._num_drawn = 0
        self._num_chained = 0
        self._num_repeating = 0

    def draw(self, arrival: Arrival) -> Drawn:
        """Return the pieces of the next request. Raises TraceError."""
        session = arrival.session if self._by_session else None
        number = self._counts.get(session, 0)
        self._counts[session] = number + 1
        drawn = self.draw_numbered(arrival, number)
        self._num_drawn += 1
        self._num_chained += drawn.chained
        self._num_repeating += _repeats(drawn.prompt) or _repeats(drawn.decode)
        return drawn

    def draw_numbered(self, arrival: Arrival, number: int) -> Drawn:
        """Return the pieces of the request of that number, of its session or of all. Raises TraceError."""
        random = stream(self._seed, "drawing", arrival.session if self._by_session else None, number)
        pool = self._pool(arrival.category)
        first = pool.whole[random.randrange(len(pool.whole))]
        if arrival.category is None and self._categories is not None:
            pool = self._pool(self._categories[first])
        draw = _from_phases if pool.has_phases else _from_stream
        prompt, decode = draw(pool, first, arrival.prompt_tokens, arrival.output_tokens - 1, random)
        return Drawn(prompt=prompt, decode=decode, chained=not _is_whole((*prompt, *decode)))

    def notes(self) -> list[str]:
        """Say how many requests chained sequences so far, and where one phase's tokens stood in for another's."""
        notes = []
        if self._num_chained:
            notes.append(
                f"{self._num_chained:,} of {self._num_drawn:,} requests are longer than the recorded sequence that they "
                "drew, and chain several of the same category"
            )
        if self._num_repeating:
            notes.append(
                f"{self._num_repeating:,} of {self._num_drawn:,} requests hold a recorded sequence more than once: routing "
                "is then more alike than real requests' of that length"
            )
        pools = [pool for pool in self._pools.values() if pool.is_used]
        if any(not pool.prompt for pool in pools):
            notes.append(f"{self._trace.path.name} has no recorded prompts to draw: recorded output stands for prompts")
        if any(not pool.decode for pool in pools):
            notes.append(f"{self._trace.path.name} has no recorded output to draw: recorded prompts stand for output")
        return notes

    def _pool(self, category: str | None) -> "_Pool":
        if category not in self._pools:
            of_category = self._allowed
            if category is not None:
                named = self._categories
                of_category = [] if named is None else [one for one in self._allowed if named[one] == category]
            if not of_category:
                known = _some(category, {self._categories[one] for one in self._allowed}) if self._categories else ""
                raise TraceError(
                    self._trace.path,
                    f"has no sequence of the category {category!r} to draw a request from; "
                    + (f"it has {known}" if known else "it names no categories: leave them out of the workload"),
                )
            self._pools[category] = _Pool(self._trace, of_category)
        return self._pools[category]


def token_ranges(trace: Trace, pieces: Sequence[Piece]) -> Iterator[range]:
    """Yield where each piece stands among all tokens of the trace, as its readers count them."""
    for piece in pieces:
        offset = int(trace.sequence_start[piece.sequence])
        yield range(offset + piece.start, offset + piece.stop)


class _Pool:
    """The sequences of a category: `whole` may begin a request, `prompt` and `decode` have tokens of that phase."""

    def __init__(self, trace: Trace, sequences: Sequence[int]) -> None:
        starts = trace.sequence_start
        self.lengths = {one: int(starts[one + 1] - starts[one]) for one in sequences}
        self.prompt_tokens = {one: int(trace.prompt_tokens[one]) for one in sequences}
        self.prompt = [one for one in sequences if self.prompt_tokens[one]]
        self.decode = [one for one in sequences if self.prompt_tokens[one] < self.lengths[one]]
        self.has_phases = bool(self.prompt and self.decode)
        both = [one for one in self.prompt if self.prompt_tokens[one] < self.lengths[one]]
        self.whole = both or sequences
        self.is_used = False


def _from_phases(
    pool: _Pool, first: int, num_prompt: int, num_decode: int, random: Random
) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Take the prompt from recorded prompts and the output from recorded outputs."""
    pool.is_used = True
    prompt: list[Piece] = []
    sequence = first
    while num_prompt:
        stop = pool.prompt_tokens[sequence]
        if stop:
            taken = min(num_prompt, stop)
            prompt.append(Piece(sequence=sequence, start=stop - taken, stop=stop))
            num_prompt -= taken
        sequence = _another(pool.prompt, sequence, random) if num_prompt else sequence
    decode: list[Piece] = []
    sequence = first
    while num_decode:
        start = pool.prompt_tokens[sequence]
        taken = min(num_decode, pool.lengths[sequence] - start)
        if taken:
            decode.append(Piece(sequence=sequence, start=start, stop=start + taken))
            num_decode -= taken
        sequence = _another(pool.decode, sequence, random) if num_decode else sequence
    return tuple(reversed(prompt)), tuple(decode)


def _from_stream(
    pool: _Pool, first: int, num_prompt: int, num_decode: int, random: Random
) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Take the prompt and then the output from one chain of whole sequences."""
    pool.is_used = True
    phases: tuple[list[Piece], list[Piece]] = ([], [])
    sequence, start = first, 0
    for phase, num_left in zip(phases, (num_prompt, num_decode), strict=True):
        while num_left:
            if start == pool.lengths[sequence]:
                sequence, start = _another(pool.whole, sequence, random), 0
            taken = min(num_left, pool.lengths[sequence] - start)
            phase.append(Piece(sequence=sequence, start=start, stop=start + taken))
            start += taken
            num_left -= taken
    return tuple(phases[0]), tuple(phases[1])


def _is_whole(pieces: Sequence[Piece]) -> bool:
    """Tell whether each piece goes on where the one before it stopped."""
    return all(one.sequence == after.sequence and one.stop == after.start for one, after in pairwise(pieces))


def _repeats(pieces: Sequence[Piece]) -> bool:
    """Tell whether a sequence is there more than once."""
    return len({piece.sequence for piece in pieces}) < len(pieces)


def _another(sequences: Sequence[int], than: int, random: Random) -> int:
    """Draw a sequence, another one if there is any."""
    drawn = sequences[random.randrange(len(sequences))]
    while drawn == than and len(sequences) > 1:
        drawn = sequences[random.randrange(len(sequences))]
    return drawn


def _some(category: str | None, known: AbstractSet[str]) -> str:
    """Name a few categories of many, those like the one that was asked for first."""
    listed = nearest_first(str(category), sorted(known))
    more = len(listed) - _MOST_NAMED
    return ", ".join(listed[:_MOST_NAMED]) + (f" and {more} more (moesim trace info)" if more > 0 else "")


def _categories(trace: Trace) -> list[str] | None:
    if trace.sequence_category is None:
        return None
    return [trace.metadata.categories[code] for code in trace.sequence_category.tolist()]
