"""Hold the simulator against a real runtime: run a suite of configurations both ways, and report how far apart they are."""
