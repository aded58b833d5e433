"""Routing traces on disk: one `.safetensors` file, or a directory of such shards with an `index.json`.

Legend: T tokens, S sequences, L routing rounds (MoE layers), K top-k, D lookahead distances.

| tensor | dtype, shape | meaning |
|---|---|---|
| `expert_ids` | uint8 or uint16 [T, L, K] | routed experts, by descending gate weight |
| `gate_weights` | float16 [T, L, K], optional | weights as the model applied them |
| `sequence_start` | int64 [S+1] | offsets into T, last = T |
| `prompt_tokens` | int32 [S] | leading tokens of the sequence that belong to the prompt (prefill) |
| `context_start` | int32 [S], optional | tokens in the context before the first recorded one |
| `sequence_category` | uint16 [S], optional | index into the metadata's `categories` |
| `lookahead_ids` | uint8 or uint16 [T, L, D, K], optional | what the gate of layer l+1+i picks from layer l's input |
| `token_ids` | int32 [T], optional | off by default: they reveal the prompt |

`lookahead_ids[t, l, i]` means nothing where layer l+1+i does not exist, and is not checked there.

Opening reads the header and the per-sequence tensors alone. The per-token tensors stay in the memory-mapped file and
are read, and checked, in slices; `Trace.check` checks them all.
"""

from traces.errors import TraceError
from traces.format.reading import Trace, check_expert_ids, open_trace
from traces.format.schema import FORMAT_VERSION, INDEX_NAME, Ids, Sequences, TraceMetadata, expert_id_dtype
from traces.format.writing import ShardWriter, concatenate, write_text_atomically, write_trace

__all__ = [
    "FORMAT_VERSION",
    "INDEX_NAME",
    "Ids",
    "Sequences",
    "ShardWriter",
    "Trace",
    "TraceError",
    "TraceMetadata",
    "check_expert_ids",
    "concatenate",
    "expert_id_dtype",
    "open_trace",
    "write_text_atomically",
    "write_trace",
]
