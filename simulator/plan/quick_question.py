"""What is asked of a quick plan: a model, a machine, and how they are used."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from hardware_profiles.errors import InputError
from hardware_profiles.load import load_profile
from hardware_profiles.profile import HardwareProfile
from simulator.model.load import load_model
from simulator.model.quantisation import parse_quantisation
from simulator.model.spec import ModelSpec

_MIXED = ("_s", "_m", "_l", "_xl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A model on a machine. Sizes are texts with units, None what the machine's profile says; formats None as released.

    `context_tokens` is the longest context of each of `batch` sequences. `figures` overrides the machine by dotted path,
    `policies` what a run does by default.
    """

    model: str
    gpu: str
    vram: str | None = None
    ram: str | None = None
    pcie: str | None = None
    context_tokens: int
    batch: int = 1
    experts_format: str | None = None
    rest_format: str | None = None
    kv_format: str = "bf16"
    figures: Mapping[str, str] = field(default_factory=dict)
    policies: Mapping[str, str] = field(default_factory=dict)


def profile_of(question: Question) -> HardwareProfile:
    """Return the machine. Raises InputError for what is wrong with its name or figures."""
    overrides: dict[str, object] = {}
    if question.pcie is not None:
        overrides = {"link.h2d.preset": question.pcie, "link.d2h.preset": question.pcie}
    return load_profile(question.gpu, overrides | hardware_set(question))


def hardware_set(question: Question) -> dict[str, object]:
    """Return the figures of the machine that are not its profile's, the link's preset apart."""
    figures: dict[str, object] = {"gpu.memory": question.vram, "host.memory": question.ram, **question.figures}
    return {path: value for path, value in figures.items() if value is not None}


def model_of(question: Question) -> ModelSpec:
    """Return the model in the formats that are asked for. Raises InputError."""
    model = _loaded(question.model)
    if question.experts_format is not None:
        model = replace(model, expert_quantisation=question.experts_format)
    if question.rest_format is not None:
        model = replace(model, rest_quantisation=question.rest_format, embedding_quantisation=question.rest_format)
    return model


def read_format(text: str, option: str) -> tuple[str, str | None]:
    """Return the name of a number format, and what is assumed of it, if anything.

    A recipe of llama.cpp that mixes formats, such as q4_k_m, is counted as the format in its name. Raises InputError.
    """
    wanted = text.strip().lower().replace("-", "_")
    for ending in _MIXED:
        if wanted.endswith(ending) and wanted.startswith("q"):
            base = _parsed(wanted.removesuffix(ending), option)
            return base, (
                f"{text} is counted as {base} throughout; the recipe gives some tensors more bits, so its files are larger"
            )
    return _parsed(text, option), None


def _parsed(text: str, option: str) -> str:
    try:
        return parse_quantisation(text).name
    except ValueError as error:
        raise InputError(option, str(error)) from None


@cache
def _loaded(name: str) -> ModelSpec:
    return load_model(name)
