"""What a routing trace looks like in numbers: popularity, locality, affinity, unions, LRU misses, drift.

Legend of the shape letters: T tokens, S sequences, L routing rounds (MoE layers), K top-k, E experts of a bank,
D lookahead distances. Every function takes arrays of `traces.format.Sequences` and returns numpy arrays; an entry for
which the trace has no sample is NaN. `traces.statistics.summary.describe` computes them all.
"""
