"""`moesim hardware`: the machines and links that ship, and where each of their numbers comes from."""

import json
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from hardware_profiles.figures import Known, describe, digest, resolved_figures
from hardware_profiles.link_presets import link_presets, resolve_link
from hardware_profiles.load import load_profile, profile_names
from hardware_profiles.profile import Constant, DurationTable, Figure, HardwareProfile
from hardware_profiles.schema import place_at

app = App(
    name="hardware",
    help="""List the machines and links that ship, and where each of their numbers comes from.

    - `moesim hardware list`
    - `moesim hardware show rtx-4090`
    - `moesim hardware links`
    """,
)


@app.command(name="list")
def list_machines() -> None:
    """List the machines that ship; a scenario names one of them, or a file of your own.

    - `moesim hardware list`
    """
    table = Table(Column("name", no_wrap=True))
    for heading in ("GPU memory", "bandwidth", "H2D GB/s", "host memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in profile_names():
        profile = load_profile(name)
        h2d = resolve_link(profile.link.h2d, "link.h2d").bandwidth
        table.add_row(
            name,
            profile.gpu.memory.text,
            profile.gpu.bandwidth.text,
            f"{h2d.value / 1e9:.1f}",
            profile.host.memory.text,
        )
    console = Console()
    console.print(table)
    console.print("GPU, host and the source of each figure: moesim hardware show NAME", style="dim")


@app.command
def show(machine: str, *, json_output: Annotated[bool, Parameter(name="--json", negative="")] = False) -> None:
    """Show every figure of a machine, with its unit, its kind and its source; links with their presets filled in.

    - `moesim hardware show rtx-4090`
    - `moesim hardware show ./my-machine.yaml --json`

    Parameters
    ----------
    machine
        A name that `moesim hardware list` lists, or the path of a profile.
    json_output
        Write JSON, with values in base units (bytes, bytes/s, FLOP/s, seconds).
    """
    profile = load_profile(machine)
    console = Console()
    if json_output:
        console.print_json(json.dumps(_as_json(profile)))
        return
    console.print(Text.assemble((profile.name, "bold"), f": {profile.description}\n"))
    table = Table(*(Column(heading, no_wrap=True) for heading in ("figure", "value", "kind")), "source")
    for path, known in resolved_figures(profile):
        table.add_row(*(Text(cell) for cell in (path, describe(known), known.kind, known.source)))
    console.print(table)


@app.command
def links() -> None:
    """List the link presets: raw rate, encoding, efficiency, effective bandwidth and latency, for one direction.

    A profile names one as `link.h2d.preset`, a what-if study sets another.

    - `moesim hardware links`
    """
    table = Table(Column("preset", no_wrap=True), "encoding")
    for heading in ("raw GB/s", "share", "GB/s", "latency"):
        table.add_column(heading, justify="right")
    table.add_column("kind", no_wrap=True)
    for preset in link_presets().values():
        table.add_row(
            preset.name,
            preset.encoding,
            f"{preset.raw_bytes_per_s / 1e9:g}",
            f"{preset.efficiency:.1%}",
            f"{preset.bandwidth.value / 1e9:.2f}",
            preset.latency.text,
            preset.bandwidth.kind,
        )
    Console().print(table)


def _as_json(profile: HardwareProfile) -> dict[str, object]:
    return {
        "name": profile.name,
        "description": profile.description,
        "digest": digest(profile),
        "figures": {path: _figure_as_json(path, known) for path, known in resolved_figures(profile)},
    }


def _figure_as_json(path: str, known: Known) -> dict[str, object]:
    place = place_at(path)
    assert place is not None
    assert place.dimension is not None
    provenance: dict[str, object] = {
        "unit": place.dimension.value,
        "text": describe(known),
        "kind": known.kind,
        "source": known.source,
    }
    if not isinstance(known, Figure) and known.weights_bytes is not None:
        provenance["weights_bytes"] = known.weights_bytes
        if known.other_weights:
            provenance["other_weights"] = [_figure_as_json(path, other) for other in known.other_weights]
    match known:
        case Figure(value=value) | Constant(seconds=value):
            return {"value": value, **provenance}
        case DurationTable(amounts=amounts, seconds=seconds):
            return {"amounts": list(amounts), "value": list(seconds), **provenance}
