"""`moesim trace`: routing traces. Each command is a module of its own, imported when it is used."""

from cyclopts import App

app = App(name="trace", help_format="markdown", help="Import, describe and synthesise routing traces.")
app.command("simulator.cli.trace_import:import_", name="import", help="Make a trace from routing that others recorded.")
app.command(
    "simulator.cli.trace_info:info", name="info", help="Describe a trace: shape, provenance, skew, overlap, bytes."
)
app.command(
    "simulator.cli.trace_stats:stats",
    name="stats",
    help="Measure a trace: popularity, locality, affinity, miss-ratio curve.",
)
app.command(
    "simulator.cli.trace_synth:synth",
    name="synth",
    help="Make a synthetic trace like a recorded one, or from a preset.",
)
