"""moesim-nano: a small mixture-of-experts language model of this project's own, and a trace recorded from it.

| module | what it does |
|---|---|
| `corpus` | gather and clean text from Debian packages: `python -m traces.nano.corpus` |
| `tokens` | train the tokenizer, encode the text, draw windows of tokens |
| `presets` | the sizes of model that can be trained, and the model built from one |
| `evaluate` | losses by source, experts' load, and the n-gram losses to compare with |
| `train` | train, resume, export: `python -m traces.nano.train` |
| `machine` | name the machine that training or recording runs on |
| `record` | record the shipped trace: `python -m traces.nano.record` |
| `card` | fill the model card's tables from `training.json` |

`model/` holds the trained weights, `trace.safetensors` the recording, `prompts.jsonl` a prompt of each kind to try
`moesim capture` with. Opening them needs none of these modules.
"""

from pathlib import Path

MODEL = Path(__file__).parent / "model"
PROMPTS = Path(__file__).parent / "prompts.jsonl"
TRACE = Path(__file__).parent / "trace.safetensors"
