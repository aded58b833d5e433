"""Write the trace of fixed_costs.yaml: two sequences over 2 layers of 4 experts, top-2, small enough for pencil and paper.

    python examples/make_fixed_costs_trace.py [FILE]

The same file comes out each time, byte for byte; without FILE it is fixed_costs_trace.safetensors beside this script.
"""

import sys
from pathlib import Path

import numpy as np

from traces.format import Sequences, TraceMetadata, write_trace

BESIDE = Path(__file__).with_name("fixed_costs_trace.safetensors")

EXPERT_IDS_TLK = [
    # layer 0, layer 1
    [[0, 1], [0, 1]],  # sequence 0, prompt
    [[1, 2], [0, 2]],  # sequence 0, prompt
    [[2, 0], [3, 1]],  # sequence 0, decode
    [[3, 1], [1, 3]],  # sequence 1, decode
    [[0, 3], [2, 0]],  # sequence 1, decode
]


def main(path: Path) -> None:
    """Write the trace to `path`, in place of what is there."""
    sequences = Sequences(
        expert_ids=np.array(EXPERT_IDS_TLK, dtype=np.uint8),
        sequence_start=np.array([0, 3, 5], dtype=np.int64),
        prompt_tokens=np.array([2, 0], dtype=np.int32),
    )
    metadata = TraceMetadata(
        model="fixed-costs-model",
        num_experts=4,
        gate="none",
        captured="by hand: no model was run",
        source="examples/make_fixed_costs_trace.py",
        licence="Apache-2.0",
    )
    write_trace(path, sequences, metadata, overwrite=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else BESIDE)
