"""What a scenario says of several GPUs.

gpus: {count: 4, experts: affinity, peers: nvlink}
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from hardware_profiles.yaml_file import strict
from simulator.fields import Whole

GpuCount = Annotated[int, Field(strict=True, ge=1, le=64)]
"""More are in no machine with one root."""

Experts = Literal["partitioned", "replicated", "affinity", "shared"]
Peers = Literal["none", "pcie", "nvlink"]


@strict
@dataclass(frozen=True, slots=True, kw_only=True)
class GpusChoice:
    """GPUs of one machine, all alike. `count` is how many there are.

    `experts` says which GPU computes which: `partitioned`, each on one, in turn; `replicated`, the same but for the
    `replicas` most popular of each bank, which every GPU computes for its own tokens; `affinity`, each on one, so that
    tokens change GPUs least from layer to layer; `shared`, every GPU computes all that its own tokens need. `peers` says
    how GPUs reach each other: `none`, through host memory; `pcie`, below one switch; `nvlink`. The figures are the
    machine's (`peers.pcie`, `peers.nvlink`).
    """

    count: GpuCount = 1
    experts: Experts = "partitioned"
    replicas: Whole = 0
    peers: Peers = "none"
