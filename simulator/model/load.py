"""Find a model: one that ships, a YAML file, or a Hugging Face `config.json`."""

import difflib
from pathlib import Path

from hardware_profiles.errors import InputError
from hardware_profiles.yaml_file import read_yaml
from simulator.model.spec import ModelSpec, build_spec

_LIBRARY = Path(__file__).parent / "library"


def model_names() -> tuple[str, ...]:
    """Return the names of the models that ship, sorted."""
    return tuple(sorted(path.stem for path in _LIBRARY.glob("*.yaml")))


def load_model(name_or_path: str) -> ModelSpec:
    """Load a model by name, or from a YAML spec, a `config.json`, or a folder that holds one.

    A name is looked up among `model_names()` and never becomes a path. Raises InputError, with close matches, where
    nothing is found, and with every fault of a file that is not a spec.
    """
    if name_or_path in model_names():
        return _read_spec(_LIBRARY / f"{name_or_path}.yaml")
    path = Path(name_or_path)
    try:
        if path.is_dir():
            path = path / "config.json"
        exists = path.is_file()
    except (OSError, ValueError):
        exists = False
    if not exists:
        raise InputError("model", _not_found(name_or_path, path))
    if path.suffix == ".json":
        from simulator.model.huggingface import spec_from_config

        return spec_from_config(path)
    return _read_spec(path)


def _read_spec(path: Path) -> ModelSpec:
    return build_spec(read_yaml(path), path)


def _not_found(text: str, path: Path) -> str:
    if path.suffix in (".json", ".yaml", ".yml"):
        return f"{str(path)!r} is not a file; check the path"
    names = {name.lower(): name for name in model_names()}
    wanted = text.lower().rsplit("/", 1)[-1]
    close = [names[name] for name in difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return (
        f"{text!r} is neither a model that ships nor a YAML file or config.json; {hint}"
        "`moesim models` lists those that ship"
    )
