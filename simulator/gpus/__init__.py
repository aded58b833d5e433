"""Several GPUs in one machine: where experts are at home, what tokens cost on their way, and the steps in lockstep.

choice, homes, shares     what a scenario says; which GPU computes an expert, and which holds a request
affinity, milp, greedy    homes by how tokens pass from layer to layer
exchange, peers           tokens and experts on their way from GPU to GPU
lockstep, gpu, machine    the run
several, summary          a scenario put together, and what comes out of it
"""
