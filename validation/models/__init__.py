"""Models whose experts are offloaded: random weights of a real shape, or a checkpoint."""
