"""The option --set: any field of a scenario, or any figure of its machine."""

from collections.abc import Sequence

from hardware_profiles.errors import InputError
from hardware_profiles.yaml_file import parse_yaml
from simulator.scenario import set_path


def apply_settings(values: dict[str, object], settings: Sequence[str]) -> None:
    """Set what each `path=value` says in a scenario's plain values. Raises InputError."""
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path.strip():
            raise InputError(f"--set {setting}", "should read path=value, such as cache.scope=global")
        set_path(values, path.strip(), _parse(path, text))


def _parse(path: str, text: str) -> object:
    """Read the value of --set as YAML would, so that 3 is a number and "6 GiB" a text."""
    try:
        return parse_yaml(text, f"--set {path}")
    except InputError as error:
        shown = text if len(text) <= 40 else f"{text[:37]}..."
        raise InputError(error.source, f"{shown!r} {error.faults[0]}; quote it if it is a text") from None
