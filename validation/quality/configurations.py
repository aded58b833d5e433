"""Which policies are measured, with which parameters, at which cache sizes.

Those of one kind span its masses from little to all there is, in more ways than one: a rule that takes a missing expert
from a token takes from other tokens than one that goes by gate mass alone. What is missing where nothing is ever fetched
is up to the placement: popular experts, by the texts that are learned from, or none.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

LOW_FORMATS = ("int8", "int4_g128", "hqq2_g16", "2 bit")
_CAPACITY = {"gpu.memory": "1024 GiB"}  # the cache is as large as is stated, whatever the machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A name, and settings of a scenario. `is_counted` says whether the masses tell all of its loss."""

    name: str
    settings: Mapping[str, object]
    is_counted: bool = True

    def scenario(self, *, trace: str, model: str, learned: str) -> dict[str, object]:
        """Return the plain values of a scenario."""
        return {
            "trace": trace,
            "model": model,
            "hardware": "fixed-costs",
            "hardware_set": dict(_CAPACITY),
            "fit": {"trace": learned},
            **self.settings,
        }


def default_configurations() -> Sequence[Configuration]:
    """Return all configurations; the first loses nothing."""
    return list(_all())


def _all() -> Iterator[Configuration]:
    yield _with("fetch", 0.25, {"name": "fetch"})
    for frac in (0.125, 0.25, 0.5, 0.75):
        yield _with("drop weaker", frac, {"name": "drop", "keep_ranks": 1})
    yield _with("drop below .35", 0.25, {"name": "drop", "keep_ranks": 0, "below": 0.35})
    for frac in (0.25, 0.5, 0.75, 0.9):
        yield _with("drop all", frac, {"name": "drop", "keep_ranks": 0}, placement="popular")
    for frac in (0.75, 0.9):
        yield _with("drop all, random", frac, {"name": "drop", "keep_ranks": 0}, placement="random")
    for share in (0.12, 0.24, 0.5, 1.0):
        yield _with(f"skip {share:g}", 0.5, {"name": "skip", "skip_share": share})
    for frac in (0.125, 0.25, 0.5):
        yield _with("buddy", frac, {"name": "buddy"})
    for frac in (0.125, 0.25, 0.5, 0.75):
        yield _with("buddy always", frac, {"name": "buddy", "tau": 0.0, "beta": 2.0})
    for frac in (0.25, 0.5):
        yield _with("low score by co-activation", frac, {"name": "substitute_low_score", "below": 0.5})
    yield _with("low score by popularity", 0.25, {"name": "substitute_low_score", "below": 0.5, "by": "popularity"})
    for frac in (0.25, 0.5, 0.75):
        yield _with("masked by popularity", frac, {"name": "masked"}, placement="popular")
    for frac in (0.25, 0.5):
        yield _with("masked by co-activation", frac, {"name": "masked", "by": "co_activation"}, placement="popular")
    for name in LOW_FORMATS:
        low = {"low_precision": {"format": name, "frac": 0.25}}
        always = {"name": "low_precision", "always": True}
        yield _with(f"all in {name}", 0.25, always, **low)
        for frac in (0.25, 0.5, 0.75):
            yield _with(f"misses in {name}", frac, always, placement="popular", **low)
    yield _with("defer", 0.25, {"name": "defer"})
    for frac in (0.25, 0.5, 0.75):
        yield _with("defer, popular", frac, {"name": "defer"}, placement="popular")
    for high, most, name, frac in (
        (0.6, 0.9, "int4_g128", 0.25),
        (0.55, 0.75, "hqq2_g16", 0.25),
        (0.5, 0.65, "hqq2_g16", 0.5),
        (0.5, 0.7, "2 bit", 0.25),
    ):
        rule = {"name": "low_precision", "high": high, "low": most}
        yield _with(f"by mass {high:g} {most:g} {name}", frac, rule, low_precision={"format": name, "frac": 0.25})
    yield _with("daop", 0.25, {"name": "daop"}, placement="popular", is_counted=False)


def _with(
    what: str, frac: float, miss: Mapping[str, object], *, is_counted: bool = True, **settings: object
) -> Configuration:
    return Configuration(
        name=f"{what}, cache {frac:.1%}".replace(".0%", "%"),
        settings={"cache": {"frac": frac}, "miss": dict(miss), **settings},
        is_counted=is_counted,
    )
