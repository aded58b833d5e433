"""The workload of a scenario, from plain values: requests from a file, from a process, from users, or several of these.

    workload:
      arrivals: {process: gamma, rate: "2 requests/s", cv: 3}
      prompt_tokens: {mean: 600, cv: 1.2, most: 8192}
      output_tokens: 128
      requests: 1000

    workload:
      file: AzureLLMInferenceTrace_conv.csv
      start: "10 min"
      stop: "20 min"
      rate_factor: 2

Parts of a workload are applied in this order: `start` and `stop` on the source's own clock, `keep_frac`, `requests`,
`rate` or `rate_factor`, `classes` and `categories`: so `rate` is that of the requests which are left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from hardware_profiles.errors import InputError
from hardware_profiles.yaml_file import strict, validate
from simulator.workload.arrivals import ClosedWorkload, OpenWorkload
from simulator.workload.generated import Generated
from simulator.workload.generators.gamma import Gamma
from simulator.workload.generators.on_off import OnOff
from simulator.workload.generators.poisson import Poisson
from simulator.workload.generators.protocol import NS_PER_S, ArrivalTimes
from simulator.workload.generators.ramp import Ramp
from simulator.workload.labels import Labelled, Labels
from simulator.workload.lengths.apart import Apart
from simulator.workload.lengths.empirical import Empirical
from simulator.workload.lengths.fixed import Fixed
from simulator.workload.lengths.lognormal import LogNormal
from simulator.workload.lengths.protocol import MAX_TOKENS, Lengths, TokenCount
from simulator.workload.merging import Merged
from simulator.workload.quantities import parse_rate, parse_span_ns
from simulator.workload.recorded import RecordedRequests
from simulator.workload.requests import FORMATS
from simulator.workload.requests.protocol import ReadOptions
from simulator.workload.scaling import Scaled, Thinned
from simulator.workload.slicing import Sliced
from simulator.workload.think_time import ThinkTime

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def _rate_text(value: object) -> object:
    if value is not None:
        parse_rate(value)
    return value


def _span_text(value: object) -> object:
    if value is not None:
        parse_span_ns(value)
    return value


def _weights(value: object) -> object:
    """Accept `chat` for `{chat: 1}`."""
    return {value: 1.0} if isinstance(value, str) else value


def _count_or_distribution(value: object) -> object:
    """Accept 128 for `{mean: 128}`."""
    return {"mean": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _known_format(value: str | None) -> str | None:
    if value is not None and value not in FORMATS:
        raise ValueError(f"{value!r} is not known; known: {', '.join(FORMATS)}")
    return value


Count = Annotated[int, Field(strict=True, ge=1, le=10**12)]
Tokens = Annotated[int, Field(strict=True, ge=1, le=MAX_TOKENS)]
Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Variation = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
RateText = Annotated[str, BeforeValidator(_rate_text)]
OptionalRate = Annotated[str | None, BeforeValidator(_rate_text)]
SpanText = Annotated[str, BeforeValidator(_span_text)]
OptionalSpan = Annotated[str | None, BeforeValidator(_span_text)]
Weights = Annotated[dict[str, Weight], BeforeValidator(_weights)]
FormatName = Annotated[str | None, AfterValidator(_known_format)]


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class PoissonChoice:
    """Arrivals that know nothing of each other, at a mean `rate`."""

    process: Literal["poisson"]
    rate: RateText


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class GammaChoice:
    """Arrivals at a mean `rate`, with gaps of a coefficient of variation `cv`: above 1 in bursts, 0 evenly."""

    process: Literal["gamma"]
    rate: RateText
    cv: Variation


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class OnOffChoice:
    """A busy rate, `on_rate`, and a quiet one, `off_rate` (0 unless given), in turn.

    `on` and `off` are how long they last; `phases` says whether as a mean (exponential) or exactly (fixed).
    """

    process: Literal["on_off"]
    on_rate: RateText
    off_rate: OptionalRate = None
    on: SpanText
    off: SpanText
    phases: Literal["exponential", "fixed"] = "exponential"


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class RampChoice:
    """A rate that goes from `start_rate` to `end_rate` within `ramp`, and stays there; one that is left out is 0."""

    process: Literal["ramp"]
    start_rate: OptionalRate = None
    end_rate: OptionalRate = None
    ramp: SpanText


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoopChoice:
    """So many `users`, who wait for an answer, think for `think`, and ask again.

    `thinking` says whether `think` is a mean (exponential) or exact (fixed); with `think_first` they think before they ask.
    """

    process: Literal["closed_loop"]
    users: Count
    think: SpanText = "0 s"
    thinking: Literal["exponential", "fixed"] = "exponential"
    think_first: bool = False


Arrivals = Annotated[
    PoissonChoice | GammaChoice | OnOffChoice | RampChoice | ClosedLoopChoice, Field(discriminator="process")
]


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class TokensChoice:
    """A length: `mean` tokens, lognormal if `cv` is above 0, kept within `least` and `most`."""

    mean: Positive
    cv: Variation = 0.0
    least: Tokens = 1
    most: Tokens = MAX_TOKENS


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class FileChoice:
    """A request trace, `file`. `format` is told by its first line unless given; `sort` puts it in order of time in memory.

    `empty` says what becomes of requests without a token of prompt or of output: left out and counted, or refused.
    `category_field` names the column or field of a request's category. `turns` of a conversation: the first question and
    its answer, or all answers, each with what was said before as its prompt. `characters_per_token` turns the text of a
    turn into tokens where the file does not count them, which is an assumption. See also
    `simulator.workload.requests.protocol.ReadOptions`.
    """

    file: str
    format: FormatName = None
    sort: bool = False
    empty: Literal["leave_out", "refuse"] = "leave_out"
    category_field: str | None = None
    turns: Literal["first", "all"] = "first"
    characters_per_token: Positive = 4.0


def _named_file(value: object) -> object:
    """Accept `trace.csv` for `{file: trace.csv}`."""
    return {"file": value} if isinstance(value, str) else value


File = Annotated[FileChoice, BeforeValidator(_named_file)]
TokenLengths = Annotated[TokensChoice, BeforeValidator(_count_or_distribution)]


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadChoice:
    """A workload: one of `file`, `arrivals` and `merge`, and what is made of it.

    `file` is a request trace; `arrivals` a process; `merge` a list of workloads. `prompt_tokens` and `output_tokens` are the
    lengths of requests that a process makes: a number, or a distribution; `lengths` is a request trace whose pairs of
    lengths are drawn instead. `start` and `stop` cut out the part between these times of the source; `keep_frac` keeps each
    request with this probability; `requests` keeps at most so many; `rate` is the mean rate that a file is brought to;
    `rate_factor` is by how much arrivals are faster. `classes` is a name for the class of requests, or names with weights;
    `categories` says the same of the routing trace's sequences. `description` is a text.
    """

    file: File | None = None
    arrivals: Arrivals | None = None
    merge: "tuple[WorkloadChoice, ...] | None" = None
    prompt_tokens: TokenLengths | None = None
    output_tokens: TokenLengths | None = None
    lengths: File | None = None
    start: OptionalSpan = None
    stop: OptionalSpan = None
    keep_frac: Share | None = None
    rate: OptionalRate = None
    rate_factor: Positive | None = None
    requests: Count | None = None
    classes: Weights = field(default_factory=dict)
    categories: Weights = field(default_factory=dict)
    description: str = ""


@cache
def _adapter() -> "TypeAdapter[WorkloadChoice]":
    from pydantic import TypeAdapter

    return TypeAdapter(WorkloadChoice)


class BuiltWorkload:
    """A workload, open or closed, and what it will have left out or assumed once it was asked."""

    def __init__(
        self, workload: OpenWorkload | ClosedWorkload, *, is_closed: bool, files: Sequence[RecordedRequests]
    ) -> None:
        self._workload, self.is_closed, self.files = workload, is_closed, files

    @property
    def open(self) -> OpenWorkload:
        """The workload, which has to be open."""
        assert not self.is_closed
        return self._workload  # type: ignore[return-value]

    @property
    def closed(self) -> ClosedWorkload:
        """The workload, which has to be closed."""
        assert self.is_closed
        return self._workload  # type: ignore[return-value]

    def notes(self) -> list[str]:
        """Return what files say of themselves as far as they were read: left out, not used, assumed."""
        return list(dict.fromkeys(note for file in self.files for note in file.notes()))


def read_choice(values: Mapping[str, object], source: str | Path) -> WorkloadChoice:
    """Validate plain values. Raises InputError with every fault at once."""
    choice = validate(_adapter(), values, source)
    faults = list(_misfits(choice, ""))
    if faults:
        raise InputError(source, faults)
    return choice


def build_workload(choice: WorkloadChoice, source: str | Path, folder: Path | None = None) -> BuiltWorkload:
    """Build what a choice says; files are looked for in `folder`, else from where one is. Raises InputError."""
    builder = _Builder(source, folder or Path())
    workload = builder.built(choice)
    return BuiltWorkload(
        workload,
        is_closed=isinstance(choice.arrivals, ClosedLoopChoice),
        files=builder.files,
    )


def _misfits(choice: WorkloadChoice, at: str) -> "Sequence[str]":
    """Return what keys of a choice do not go together."""
    faults = []
    sources = [name for name in ("file", "arrivals", "merge") if getattr(choice, name) is not None]
    if len(sources) != 1:
        said = f"gives {' and '.join(sources)}; keep one" if sources else "needs one of file, arrivals and merge"
        return [f"{at or 'workload'}: {said}"]
    lengths = [name for name in ("prompt_tokens", "output_tokens", "lengths") if getattr(choice, name) is not None]
    if choice.arrivals is None:
        faults += [f"{at}{name}: goes with arrivals; a {sources[0]} has lengths of its own" for name in lengths]
    elif lengths not in (["prompt_tokens", "output_tokens"], ["lengths"]):
        said = " and ".join(lengths) or "none of them"
        faults.append(f"{at}arrivals: need prompt_tokens and output_tokens, or lengths: {{file: ...}}; {said} is given")
    if isinstance(choice.arrivals, ClosedLoopChoice):
        changes = ("start", "keep_frac", "rate", "rate_factor")
        faults += [
            f"{at}{name}: does not go with closed_loop, whose arrivals depend on the service; change users or think"
            for name in changes
            if getattr(choice, name) is not None
        ]
    if choice.rate is not None and choice.rate_factor is not None:
        faults.append(f"{at}rate: {choice.rate} and rate_factor {choice.rate_factor} are given; keep one")
    if choice.rate is not None and choice.file is None:
        faults.append(f"{at}rate: goes with file; name the rate of arrivals in the process, or use rate_factor")
    if choice.stop is not None and parse_span_ns(choice.stop) <= parse_span_ns(choice.start or "0 s"):
        faults.append(f"{at}stop: {choice.stop} is not after start, {choice.start or '0 s'}")
    for index, part in enumerate(choice.merge or ()):
        if isinstance(part.arrivals, ClosedLoopChoice):
            faults.append(f"{at}merge.{index}.arrivals: closed_loop cannot be merged; run it alone")
        faults += _misfits(part, f"{at}merge.{index}.")
    if choice.merge == ():
        faults.append(f"{at}merge: names no workload; give at least one")
    return faults


class _Builder:
    """Builds workloads, and collects the files that they read."""

    def __init__(self, source: str | Path, folder: Path) -> None:
        self._source, self._folder = source, folder
        self.files: list[RecordedRequests] = []

    def built(self, choice: WorkloadChoice) -> OpenWorkload | ClosedWorkload:
        """Return a workload. Raises InputError."""
        try:
            labels = Labels(classes=choice.classes, categories=choice.categories)
            if isinstance(choice.arrivals, ClosedLoopChoice):
                return self._users(choice, choice.arrivals, labels)
            return self._open(choice, labels)
        except InputError:
            raise
        except ValueError as error:
            raise InputError(self._source, f"workload: {error}") from None

    def _users(self, choice: WorkloadChoice, users: ClosedLoopChoice, labels: Labels) -> ThinkTime:
        return ThinkTime(
            self._lengths(choice),
            users=users.users,
            think_s=parse_span_ns(users.think) / NS_PER_S,
            thinking=users.thinking,
            think_first=users.think_first,
            max_requests=choice.requests,
            stop_ns=None if choice.stop is None else parse_span_ns(choice.stop),
            labels=labels,
        )

    def _open(self, choice: WorkloadChoice, labels: Labels) -> OpenWorkload:
        workload: OpenWorkload
        if choice.file is not None:
            workload = self._file(choice.file)
        elif choice.merge is not None:
            workload = Merged([self._open_part(part) for part in choice.merge])
        else:
            assert choice.arrivals is not None
            workload = Generated(_times(choice.arrivals), self._lengths(choice))
        if choice.start is not None or choice.stop is not None:
            stop_ns = None if choice.stop is None else parse_span_ns(choice.stop)
            workload = Sliced(workload, start_ns=parse_span_ns(choice.start or "0 s"), stop_ns=stop_ns)
        if choice.keep_frac is not None:
            workload = Thinned(workload, choice.keep_frac)
        if choice.requests is not None:
            workload = Sliced(workload, max_requests=choice.requests)
        if choice.rate is not None:
            workload = Scaled(workload, parse_rate(choice.rate) / self._mean_rate(workload))
        elif choice.rate_factor is not None:
            workload = Scaled(workload, Fraction(repr(choice.rate_factor)))
        if choice.classes or choice.categories:
            workload = Labelled(workload, labels)
        return workload

    def _open_part(self, choice: WorkloadChoice) -> OpenWorkload:
        return self._open(choice, Labels(classes=choice.classes, categories=choice.categories))

    def _file(self, choice: FileChoice) -> RecordedRequests:
        recorded = RecordedRequests(
            self._folder / choice.file,
            format_name=choice.format,
            options=ReadOptions(
                category_field=choice.category_field,
                turns=choice.turns,
                characters_per_token=choice.characters_per_token,
            ),
            sort=choice.sort,
            leave_out_empty=choice.empty == "leave_out",
        )
        self.files.append(recorded)
        return recorded

    def _lengths(self, choice: WorkloadChoice) -> Lengths:
        if choice.lengths is not None:
            return Empirical(self._file(choice.lengths).lengths())
        assert choice.prompt_tokens is not None
        assert choice.output_tokens is not None
        return Apart(_tokens(choice.prompt_tokens), _tokens(choice.output_tokens))

    def _mean_rate(self, workload: OpenWorkload) -> Fraction:
        """Return requests per second of a file: gaps over the time from the first to the last."""
        count, first_ns, last_ns = 0, 0, 0
        for arrival in workload.arrivals(0):
            if not count:
                first_ns = arrival.arrival_ns
            count, last_ns = count + 1, arrival.arrival_ns
        if last_ns == first_ns:
            raise InputError(
                self._source, f"workload.rate: cannot be set, as {count} requests at one instant have no rate"
            )
        return Fraction((count - 1) * NS_PER_S, last_ns - first_ns)


def _times(
    arrivals: PoissonChoice | GammaChoice | OnOffChoice | RampChoice | ClosedLoopChoice,
) -> ArrivalTimes:
    match arrivals:
        case PoissonChoice():
            return Poisson(rate_per_s=_per_s(arrivals.rate))
        case GammaChoice():
            return Gamma(rate_per_s=_per_s(arrivals.rate), cv=arrivals.cv)
        case OnOffChoice():
            return OnOff(
                on_rate_per_s=_per_s(arrivals.on_rate),
                off_rate_per_s=_per_s(arrivals.off_rate),
                mean_on_s=parse_span_ns(arrivals.on) / NS_PER_S,
                mean_off_s=parse_span_ns(arrivals.off) / NS_PER_S,
                phases=arrivals.phases,
            )
        case RampChoice():
            return Ramp(
                start_rate_per_s=_per_s(arrivals.start_rate),
                end_rate_per_s=_per_s(arrivals.end_rate),
                ramp_s=parse_span_ns(arrivals.ramp) / NS_PER_S,
            )
    raise AssertionError(arrivals)


def _tokens(choice: TokensChoice) -> TokenCount:
    if choice.cv == 0 and choice.mean == int(choice.mean):
        return Fixed(tokens=min(max(int(choice.mean), choice.least), choice.most))
    return LogNormal(mean=choice.mean, cv=choice.cv, least=choice.least, most=choice.most)


def _per_s(text: str | None) -> float:
    return float(parse_rate(text)) if text is not None else 0.0


def workload_keys() -> list[str]:
    """Return the keys of a workload."""
    return [item.name for item in fields(WorkloadChoice)]
