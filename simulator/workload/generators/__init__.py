"""Arrival processes by the names that a workload gives them; `closed_loop` is in simulator/workload/think_time.py."""

from simulator.workload.generators.gamma import Gamma
from simulator.workload.generators.on_off import OnOff
from simulator.workload.generators.poisson import Poisson
from simulator.workload.generators.ramp import Ramp

GENERATORS = {"poisson": Poisson, "gamma": Gamma, "on_off": OnOff, "ramp": Ramp}
