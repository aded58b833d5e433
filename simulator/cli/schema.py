"""`moesim schema`: JSON Schemas of the files that people write, for editors."""

import json
import sys

from hardware_profiles.errors import InputError
from hardware_profiles.suggest import one_of


def schema(kind: str, /) -> None:
    """Write the JSON Schema of a kind of file, for an editor.

    Parameters
    ----------
    kind
        scenario, sweep, plan (the file that `moesim plan` searches), profile or model.
    """
    from simulator.json_schema import SCHEMAS, json_schema

    if kind not in SCHEMAS:
        raise InputError(f"moesim schema {kind!r}", f"is no kind of file; {one_of(kind, list(SCHEMAS))}")
    sys.stdout.write(json.dumps(json_schema(kind), indent=1, ensure_ascii=False) + "\n")
