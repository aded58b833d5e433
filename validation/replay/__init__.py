"""Replay a workload on a real model: its rows, their KV cache, its tokens and its routing."""
