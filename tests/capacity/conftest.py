"""The command line."""

from tests.cli.conftest import moesim, place

__all__ = ["moesim", "place"]
