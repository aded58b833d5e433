"""Refuse pickles, which run code when they are loaded, and say how to convert them."""

import zipfile
from pathlib import Path

from traces.errors import TraceError

_CONVERT = (
    "python -c \"import json, sys, torch; json.dump(torch.load(sys.argv[1], weights_only=True, map_location='cpu'), "
    "open(sys.argv[2], 'w'), default=lambda tensor: tensor.tolist())\" {name} {json_name}"
)


def refuse_pickle(path: Path) -> None:
    """Raise TraceError if a file is a pickle, plain or as `torch.save` writes it. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(4)
    pickled = head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    if head == b"PK\x03\x04":
        try:
            with zipfile.ZipFile(path) as archive:
                pickled = any(name.endswith("/data.pkl") for name in archive.namelist())
        except zipfile.BadZipFile:
            return
    if pickled:
        command = _CONVERT.format(name=path.name, json_name=path.with_suffix(".json").name)
        raise TraceError(
            path, f"is a pickle, which can run code when it is loaded; if you trust it, convert it: {command}"
        )
