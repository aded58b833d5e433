"""Stated durations for the model at hand: where a profile says which weights a time was for, it follows the bytes.

    one size stated   time = stated time * bytes of the model's weights for that work / stated weights
    several sizes     between two, linear in the bytes; beyond the outermost, a fixed part and a part in proportion to the
                      bytes, neither below zero, through the two that are nearest

At a stated size the time is the stated one. A launch, Python and all else that does not grow with the weights is the fixed
part, which takes two sizes to tell.

Source: work that reads each weight once takes the time of reading, where few tokens share a weight; the arithmetic of
many tokens grows with the same parameters, if not with their bits. The fixed part: measured, see docs/calibration.md.

Limits: of a duration stated for one size all is scaled, its fixed part too; a format with other bits per weight goes by its
bytes even where arithmetic sets the pace, and so does a low-precision copy of another format than the one that was timed,
whatever its unpacking takes; a shape that kernels like less is not seen.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from operator import itemgetter

from hardware_profiles.profile import Duration, Durations
from hardware_profiles.quantity import format_decimal_bytes
from simulator.costs.exact import DurationCurve, exact
from simulator.model.footprint import bytes_of, expert_bytes, non_expert_layer_params, output_head_params
from simulator.model.quantisation import parse_quantisation
from simulator.model.spec import ModelSpec, is_moe_layer

_WORTH_TELLING = Fraction(5, 1000)
_WEIGHTS = {
    "expert": "experts",
    "low_expert": "low-precision copies",
    "layer": "layers",
    "dense_layer": "dense layers",
    "step": "a head",
    "cpu_expert": "experts",
}


class StatedDuration:
    """A duration that a profile states, for weights of any bytes."""

    def __init__(self, duration: Duration) -> None:
        self._curve = DurationCurve(duration)
        sizes = [] if duration.weights_bytes is None else sorted([duration, *duration.other_weights], key=_bytes_of)
        self._sizes = [(_bytes_of(one), DurationCurve(one)) for one in sizes]

    def ns(self, amount: int, weights_bytes: int) -> Fraction:
        """Return the time for an amount of work that reads weights of these bytes, exact, not rounded."""
        sizes = self._sizes
        if not sizes:
            return self._curve.ns(amount)
        if len(sizes) == 1:
            stated_bytes, curve = sizes[0]
            return curve.ns(amount) * weights_bytes / stated_bytes
        upper = min(max(bisect_left(sizes, weights_bytes, key=itemgetter(0)), 1), len(sizes) - 1)
        (small, small_curve), (large, large_curve) = sizes[upper - 1 : upper + 1]
        small_ns, large_ns = small_curve.ns(amount), large_curve.ns(amount)
        if small <= weights_bytes <= large:
            return small_ns + (large_ns - small_ns) * (weights_bytes - small) / (large - small)
        nearest, nearest_ns = (small, small_ns) if weights_bytes < small else (large, large_ns)
        fixed_ns = min(max((small_ns * large - large_ns * small) / (large - small), Fraction(0)), nearest_ns)
        return fixed_ns + (nearest_ns - fixed_ns) * weights_bytes / nearest


def _bytes_of(duration: Duration) -> Fraction:
    assert duration.weights_bytes is not None, "the loader asks for it"
    return exact(duration.weights_bytes)


def stated(duration: Duration | None) -> StatedDuration | None:
    """Return a duration ready for use, None where the profile has none."""
    return None if duration is None else StatedDuration(duration)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """A duration (`durations.<name>`) stated for weights of `stated_bytes`, used for the model's, by layers distinct.

    `stated_bytes` ascend; with more than one, a fixed part is kept apart.
    """

    name: str
    kind: str
    stated_bytes: tuple[float, ...]
    model_bytes: tuple[int, ...]

    def __str__(self) -> str:
        known = f"{self.kind} on" if self.kind in ("measured", "published") else "stated for"
        sizes = [format_decimal_bytes(num_bytes) for num_bytes in self.stated_bytes]
        texts = list(dict.fromkeys(format_decimal_bytes(num_bytes) for num_bytes in self.model_bytes))
        found = texts[0] if len(texts) == 1 else f"between {texts[0]} and {texts[-1]}"
        how = "is scaled by the bytes to" if len(sizes) == 1 else "is taken, by the bytes, for"
        return f"durations.{self.name}, {known} {_WEIGHTS[self.name]} of {_and(sizes)}, {how} {found}"


def _and(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def scalings(model: ModelSpec, durations: Durations, low_format: str | None = None) -> list[Scaling]:
    """List the durations whose weights are not, within 0.5 %, those of `model`, or of its copies in `low_format`."""
    found = []
    for name, model_bytes in _weights_of(model, low_format).items():
        duration: Duration | None = getattr(durations, name)
        if duration is None or duration.weights_bytes is None:
            continue
        sizes = sorted(float(_bytes_of(one)) for one in (duration, *duration.other_weights))
        if any(min(abs(num_bytes / exact(size) - 1) for size in sizes) > _WORTH_TELLING for num_bytes in model_bytes):
            found.append(Scaling(name=name, kind=duration.kind, stated_bytes=tuple(sizes), model_bytes=model_bytes))
    return found


def _weights_of(model: ModelSpec, low_format: str | None) -> Mapping[str, tuple[int, ...]]:
    """Return the distinct bytes, ascending, of the weights that each duration's work reads in `model`."""
    rest = parse_quantisation(model.rest_quantisation)
    layers: dict[bool, set[int]] = {True: set(), False: set()}
    for layer in range(model.num_layers):
        layers[is_moe_layer(model, layer)].add(bytes_of(non_expert_layer_params(model, layer), rest))
    expert = (expert_bytes(model),)
    return {
        "expert": expert,
        "low_expert": () if low_format is None else (expert_bytes(replace(model, expert_quantisation=low_format)),),
        "layer": tuple(sorted(layers[True])),
        "dense_layer": tuple(sorted(layers[False])),
        "step": (head_bytes(model),),
        "cpu_expert": expert,
    }


def head_bytes(model: ModelSpec) -> int:
    """Return the bytes of the matrix that makes the logits."""
    return bytes_of(output_head_params(model), parse_quantisation(model.embedding_quantisation))
