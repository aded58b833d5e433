"""Load a machine by name or path, with the overrides of a what-if study.

    profile = load_profile("rtx-4090", {"link.h2d.preset": "gen5x16", "gpu.memory": "32 GiB"})

Overrides go by dotted path and are applied to the file's plain values before these are validated, so that an override
is held to the same rules as a file.

Limits: an override changes the one figure that it names. A faster link does not bring a host whose memory keeps up with
it, and more GPU memory does not bring more bandwidth.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from difflib import get_close_matches
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from hardware_profiles.errors import InputError
from hardware_profiles.figures import assumed_figures, describe, digest, resolved_figures
from hardware_profiles.link_presets import NEITHER_PRESET_NOR_BANDWIDTH, link_presets, unknown_preset
from hardware_profiles.profile import HardwareProfile
from hardware_profiles.schema import DTYPES, Place, members, place_at, settable_paths
from hardware_profiles.suggest import nearest_first, one_of
from hardware_profiles.yaml_file import read_yaml, validate

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["assumed_figures", "describe", "digest", "load_profile", "profile_names", "profile_of", "resolved_figures"]

_SET_FOR_THIS_RUN = {"kind": "assumed", "source": "set for this run"}
_NOTHING = ("none", "null")
_DIRECTIONS = ("h2d", "d2h")


def profile_names() -> list[str]:
    """Return the names of the machines that ship, sorted."""
    files = resources.files("hardware_profiles").joinpath("library").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load_profile(name_or_path: str, overrides: Mapping[str, object] | None = None) -> HardwareProfile:
    """Load the machine that ships under a name, or a file: a path with a separator, or one that ends in .yaml or .yml.

    `overrides` maps dotted paths to values: a string with a unit in place of a figure (which makes it `assumed`, "set
    for this run") or of a duration (which makes it constant), a mapping with value, kind and source, or None to take
    away what is optional. Setting a link's preset takes away the bandwidth and the latency that the file gives for that
    direction.

    Raises InputError with every fault at once: an unknown name, path or key, a value without a unit, an override that
    could have no effect.
    """
    source, values = _read(name_or_path)
    if overrides:
        values, source = _override(values, overrides, source), f"{source} with overrides"
    return profile_of(values, source)


def profile_of(values: Mapping[str, object], source: str) -> HardwareProfile:
    """Make a profile of the plain values of a file. Raises InputError that names `source`, with every fault at once."""
    faults = [*_link_faults(values), *_duration_faults(values), *_power_faults(values), *_price_faults(values)]
    try:
        profile = validate(_adapter(), values, source)
    except InputError as error:
        raise InputError(source, [*error.faults, *faults]) from None
    if faults:
        raise InputError(source, faults)
    return profile


@cache
def _adapter() -> "TypeAdapter[HardwareProfile]":
    from pydantic import TypeAdapter

    return TypeAdapter(HardwareProfile)


def _read(name_or_path: str) -> tuple[str, dict[str, object]]:
    if "/" in name_or_path or "\\" in name_or_path or name_or_path.endswith((".yaml", ".yml")):
        return name_or_path, read_yaml(Path(name_or_path))
    names = profile_names()
    if name_or_path not in names:
        raise InputError(
            f"hardware profile {name_or_path!r}",
            f"no such machine ships; {one_of(name_or_path, names)}; name a file with a path or with its ending .yaml",
        )
    file = resources.files("hardware_profiles").joinpath("library", f"{name_or_path}.yaml")
    with resources.as_file(file) as path:
        return f"hardware profile {name_or_path!r}", read_yaml(path)


def _override(values: dict[str, object], overrides: Mapping[str, object], source: str) -> dict[str, object]:
    """Return a copy of `values` with `overrides` in it. Raises InputError for every path that names nothing."""
    faults: list[str] = []
    settings: dict[str, object] = {}
    for path, value in overrides.items():
        for leaf, leaf_value in _spread(path, value):
            place = place_at(leaf)
            if place is None or not _is_known(leaf, values):
                faults.append(_no_such_path(leaf))
            elif leaf_value is None and not place.optional:
                faults.append(f"{leaf}: cannot be taken away; give a value")
            else:
                settings[leaf] = leaf_value if leaf_value is None else _written(leaf_value, place)
    changed = deepcopy(values)
    for path in sorted(settings, key=lambda path: not path.endswith(".preset")):
        parent = _parent(changed, path)
        name = path.rpartition(".")[2]
        if settings[path] is None:
            parent.pop(name, None)
            continue
        if name == "preset":
            parent.pop("bandwidth", None)
            parent.pop("latency", None)
        parent[name] = settings[path]
    faults += _without_effect(settings, changed)
    if faults:
        raise InputError(f"overrides of {source}", faults)
    return changed


def _spread(path: str, value: object) -> Iterator[tuple[str, object]]:
    """Yield the single settings of an override; a mapping set onto a group (`link.h2d`) sets each of its keys."""
    if isinstance(value, Mapping) and members(path):
        for name, below in value.items():
            yield from _spread(f"{path}.{name}", below)
    elif isinstance(value, str) and value.strip().lower() in _NOTHING:
        yield path, None
    else:
        yield path, value


def _is_known(path: str, values: Mapping[str, object]) -> bool:
    """Tell whether `path` is in the schema; of a group by dtype, whether the dtype is a known one or in the file."""
    group, _, dtype = path.rpartition(".")
    if path in settable_paths():
        return True
    return dtype in _mapping_at(values, group)


def _mapping_at(values: Mapping[str, object], path: str) -> Mapping[str, object]:
    here: object = values
    for part in path.split("."):
        here = here.get(part) if isinstance(here, Mapping) else None
    return here if isinstance(here, Mapping) else {}


def _parent(values: dict[str, object], path: str) -> dict[str, object]:
    here = values
    for part in path.split(".")[:-1]:
        below = here.get(part)
        if not isinstance(below, dict):
            below = here[part] = {}
        here = below
    return here


def _written(value: object, place: Place) -> object:
    """Return `value` as a file would have it, with a kind and a source where it lacks them."""
    if place.form == "text":
        return value
    if isinstance(value, Mapping):
        return {**_SET_FOR_THIS_RUN, **value}
    return {"value" if place.form == "figure" else "constant": value, **_SET_FOR_THIS_RUN}


def _no_such_path(path: str) -> str:
    below = members(path)
    if below:
        return f"{path}: is a group, not a figure; name one of {', '.join(below)}"
    owner = path.rpartition(".")[0]
    place = place_at(owner)
    if place is not None and place.form != "by_dtype":
        return f"{path}: an override sets a figure whole; write {owner}"
    if place is not None:
        return f"{path}: is no dtype; known: {', '.join(nearest_first(path.rpartition('.')[2], DTYPES))}"
    nearest = get_close_matches(path, settable_paths(), n=3, cutoff=0.4) or ["gpu.memory", "link.h2d.bandwidth"]
    return f"{path}: a profile has no such path; try {', '.join(nearest)}"


def _without_effect(settings: Mapping[str, object], values: Mapping[str, object]) -> Iterator[str]:
    """Yield a fault for each setting of a link, or of NVMe, that measured or stated times would hide."""
    durations = _mapping_at(values, "durations")
    for path in settings:
        if (
            "transfer" in durations
            and path.startswith("link.")
            and path.endswith((".preset", ".bandwidth", ".latency"))
        ):
            yield (
                f"{path}: would have no effect, because durations.transfer says how long every transfer takes; "
                "take that away as well (durations.transfer=none)"
            )
        if "nvme_read" in durations and path in ("nvme.bandwidth", "nvme.latency") and settings[path] is not None:
            yield (
                f"{path}: would have no effect, because durations.nvme_read says how long every read takes; "
                "take that away as well (durations.nvme_read=none)"
            )


def _link_faults(values: Mapping[str, object]) -> Iterator[str]:
    """Yield what the schema cannot see: unknown presets, links without a bandwidth, presets for pageable memory."""
    pageable = _mapping_at(values, "link").get("host_memory") == "pageable"
    for direction in _DIRECTIONS:
        path = f"link.{direction}"
        if not isinstance(_mapping_at(values, "link").get(direction), Mapping):
            continue
        link = _mapping_at(values, path)
        preset = link.get("preset")
        if isinstance(preset, str) and preset not in link_presets():
            yield f"{path}.preset: {unknown_preset(preset)}"
        if link.get("bandwidth") is not None:
            continue
        if preset is None:
            yield f"{path}: {NEITHER_PRESET_NOR_BANDWIDTH}"
        elif pageable:
            yield (
                f"{path}.bandwidth: is missing; link.host_memory is pageable and presets are those of pinned memory "
                "(pageable copies of experts have been timed at 1.7 to 8.8 GB/s)"
            )


def _duration_faults(values: Mapping[str, object]) -> Iterator[str]:
    """Yield a fault for a context's time that there is no layer's time to add to."""
    durations = _mapping_at(values, "durations")
    if durations.get("context") is not None and durations.get("layer") is None:
        yield (
            "durations.context: is added to durations.layer, which is not given; give that as well, or take this away "
            "(durations.context=none)"
        )


def _power_faults(values: Mapping[str, object]) -> Iterator[str]:
    """Yield a fault for each resource whose energy could not be told, because half of what it draws is not given."""
    for group in sorted({path.rpartition(".")[0] for path in members("power")} - {"power"}):
        given = [name for name in ("idle", "busy") if _mapping_at(values, group).get(name) is not None]
        if len(given) == 1:
            missing = "busy" if given == ["idle"] else "idle"
            yield (
                f'{group}.{missing}: is missing, and energy needs both; give it ({group}.{missing}="20 W"), or take the '
                f"other away ({group}.{given[0]}=none)"
            )


def _price_faults(values: Mapping[str, object]) -> Iterator[str]:
    """Yield what in a price contradicts itself or says too little."""
    price = {name for name, value in _mapping_at(values, "price").items() if value is not None}
    if {"per_hour", "purchase"} <= price:
        yield "price: is both rented (per_hour) and bought (purchase); keep one of them (price.per_hour=none)"
    if "purchase" in price and "lifetime" not in price:
        yield 'price.lifetime: is missing; say over which time price.purchase is spread, such as "3 years"'
    if "lifetime" in price and "purchase" not in price:
        yield "price.lifetime: spreads price.purchase, which is not given; give that as well, or take this away"
    if "electricity" in price and not _mapping_at(values, "power"):
        yield "price.electricity: is paid for energy, and power is not given; give that as well, or take this away"
