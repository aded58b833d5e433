"""Measure what lossy policies cost a model: perplexity against the mass that the simulator counts."""
