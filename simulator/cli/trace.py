"""`moesim trace`: routing traces. Each command is a module of its own, imported when it is used."""

from cyclopts import App

_IMPORT_EXAMPLES = """
**A numpy archive** of decode steps; the prompts' routing was not recorded, but their length was:

```
moesim trace import decode.npz --out t.safetensors --num-experts 32
  --prompt-tokens none --map context_start=prompt_len
  --map sequence_category=category
```

**One forward pass** over whole texts, all of it prefill:

```
moesim trace import prefill.npz --out t.safetensors --num-experts 64
  --prompt-tokens all
```

**JSON lines or CSV** whose fields have other names:

```
moesim trace import routing.jsonl --out t.safetensors --num-experts 8
  --prompt-tokens 16 --map expert_ids=experts
```

**What an engine returned**, one file per request:

```
moesim trace import request-*.json --out t.safetensors --format vllm
  --num-experts 128
```
"""

app = App(name="trace", help="Import, describe and synthesise routing traces.", help_format="markdown")
app.command(
    "simulator.cli.trace_import:import_",
    name="import",
    help="Make a trace from routing that others recorded.",
    help_epilogue=_IMPORT_EXAMPLES,
)
app.command(
    "simulator.cli.trace_info:info",
    name="info",
    help="Describe a trace: shape, provenance, skew, overlap, bytes.",
    help_epilogue="Examples:\n\n    moesim trace info t.safetensors --json\n",
)
app.command(
    "simulator.cli.trace_stats:stats",
    name="stats",
    help="Measure a trace: popularity, locality, affinity, miss-ratio curve.",
    help_epilogue="Examples:\n\n    moesim trace stats t.safetensors --html stats.html\n",
)
app.command(
    "simulator.cli.trace_synth:synth",
    name="synth",
    help="Make a synthetic trace like a recorded one, or from a preset.",
    help_epilogue="Examples:\n\n    moesim trace synth --like t.safetensors --out s.safetensors\n",
)
