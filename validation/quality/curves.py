"""Write the curves that ship, from the committed result: `python -m validation.quality.curves
validation/results/quality.json`.

The simulator reads them without torch. Of another model's result, write them elsewhere (`--out`), and read them with
`simulator.quality.read_curves`.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from cyclopts import App

import simulator.quality
from hardware_profiles.errors import InputError
from traces.format import write_text_atomically

_SHIPPED = Path(simulator.quality.__file__).parent / simulator.quality.SHIPPED

app = App(name="validation.quality.curves", help="Write the curves of a measurement for the simulator.")


def curves_text(result: Mapping[str, object]) -> str:
    """Return the file's text."""
    return json.dumps(result["curves"], indent=1) + "\n"


@app.default
def write(result: Path, /, *, out: Path = _SHIPPED) -> None:
    """Write the curves.

    Parameters
    ----------
    result
        What `moesim quality --results` wrote.
    out
        Where to; in the package by default.
    """
    try:
        text = curves_text(json.loads(result.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(result, f"is no result of moesim quality ({type(error).__name__})") from None
    write_text_atomically(out, text)


if __name__ == "__main__":
    try:
        app()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
