"""The runtime that replays the simulator's decisions on real hardware."""
