"""The command line: `moesim`. Each command group is a module of this package, imported when it is used.

Exit codes: 0; 1 for an unexpected error (with its traceback); 2 for a fault of the user's input, told in one message.
"""

import sys

from cyclopts import App

app = App(
    name="moesim",
    help="Simulate offloaded mixture-of-experts serving: recorded routing in, timings out.",
    version="0.1.0",
)
app.command("simulator.cli.run:run", name="run", help="Simulate one scenario.")
app.command("simulator.cli.models:models", name="models", help="List the models that ship.")
app.command("simulator.cli.hardware:app", name="hardware", help="List the machines and links that ship.")
app.command("simulator.cli.capture:capture", name="capture", help="Record what a live model routes.")
app.command("simulator.cli.trace:app", name="trace", help="Import, describe and synthesise routing traces.")


def main() -> None:
    """Run `moesim`; the console script."""
    from hardware_profiles.errors import InputError
    from traces.errors import TraceError

    try:
        app()
    except (InputError, TraceError) as error:
        print(f"moesim: error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)
    except KeyboardInterrupt:
        print("moesim: interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(130)
