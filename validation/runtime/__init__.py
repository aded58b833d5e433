"""The offloading runtime: the simulator's decisions, carried out in real time by torch."""
