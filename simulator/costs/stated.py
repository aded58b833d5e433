"""Stated durations for the model at hand: where a profile says which weights a time was for, it scales with the bytes.

    time = stated time * bytes of the model's weights for that work / stated weights

Source: work that reads each weight once takes the time of reading, where few tokens share a weight; the arithmetic of
many tokens grows with the same parameters, if not with their bits.

Limits: what does not grow with the weights (a launch, a kernel's ramp) is scaled along; a format with other bits per
weight is scaled by its bytes even where arithmetic sets the pace; a shape that kernels like less is not seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from hardware_profiles.profile import Duration, Durations
from hardware_profiles.quantity import format_decimal_bytes
from simulator.costs.exact import DurationCurve, exact
from simulator.model.footprint import bytes_of, expert_bytes, non_expert_layer_params, output_head_params
from simulator.model.quantisation import parse_quantisation
from simulator.model.spec import ModelSpec, is_moe_layer

_WORTH_TELLING = Fraction(5, 1000)
_WEIGHTS = {
    "expert": "experts",
    "layer": "layers",
    "dense_layer": "dense layers",
    "step": "a head",
    "cpu_expert": "experts",
}


class StatedDuration:
    """A duration that a profile states, for weights of any bytes."""

    def __init__(self, duration: Duration) -> None:
        self._curve = DurationCurve(duration)
        self._weights_bytes = None if duration.weights_bytes is None else exact(duration.weights_bytes)

    def ns(self, amount: int, weights_bytes: int) -> Fraction:
        """Return the time for an amount of work that reads weights of these bytes, exact, not rounded."""
        stated_ns = self._curve.ns(amount)
        if self._weights_bytes is None:
            return stated_ns
        return stated_ns * weights_bytes / self._weights_bytes


def stated(duration: Duration | None) -> StatedDuration | None:
    """Return a duration ready for use, None where the profile has none."""
    return None if duration is None else StatedDuration(duration)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """A duration (`durations.<name>`) stated for weights of `stated_bytes`, used for the model's, by layers distinct."""

    name: str
    kind: str
    stated_bytes: float
    model_bytes: tuple[int, ...]

    def __str__(self) -> str:
        known = f"{self.kind} on" if self.kind in ("measured", "published") else "stated for"
        texts = list(dict.fromkeys(format_decimal_bytes(num_bytes) for num_bytes in self.model_bytes))
        found = texts[0] if len(texts) == 1 else f"between {texts[0]} and {texts[-1]}"
        return (
            f"durations.{self.name}, {known} {_WEIGHTS[self.name]} of {format_decimal_bytes(self.stated_bytes)}, "
            f"is scaled by the bytes to {found}"
        )


def scalings(model: ModelSpec, durations: Durations) -> list[Scaling]:
    """List the durations that are scaled for `model` by more than 0.5 %."""
    found = []
    for name, model_bytes in _weights_of(model).items():
        duration: Duration | None = getattr(durations, name)
        if duration is None or duration.weights_bytes is None:
            continue
        ratios = [num_bytes / exact(duration.weights_bytes) for num_bytes in model_bytes]
        if any(abs(ratio - 1) > _WORTH_TELLING for ratio in ratios):
            stated_bytes = duration.weights_bytes
            found.append(Scaling(name=name, kind=duration.kind, stated_bytes=stated_bytes, model_bytes=model_bytes))
    return found


def _weights_of(model: ModelSpec) -> Mapping[str, tuple[int, ...]]:
    """Return the distinct bytes, ascending, of the weights that each duration's work reads in `model`."""
    rest = parse_quantisation(model.rest_quantisation)
    layers: dict[bool, set[int]] = {True: set(), False: set()}
    for layer in range(model.num_layers):
        layers[is_moe_layer(model, layer)].add(bytes_of(non_expert_layer_params(model, layer), rest))
    expert = (expert_bytes(model),)
    return {
        "expert": expert,
        "layer": tuple(sorted(layers[True])),
        "dense_layer": tuple(sorted(layers[False])),
        "step": (head_bytes(model),),
        "cpu_expert": expert,
    }


def head_bytes(model: ModelSpec) -> int:
    """Return the bytes of the matrix that makes the logits."""
    return bytes_of(output_head_params(model), parse_quantisation(model.embedding_quantisation))
