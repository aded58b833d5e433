"""Synthetic routing: a generator fitted to a trace's statistics, or given by a few numbers."""
