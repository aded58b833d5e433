"""`moesim workload`: requests and when they come. Each command is a module of its own, imported when it is used."""

from cyclopts import App

_INFO_EXAMPLES = """\
Examples:

    moesim workload info AzureLLMInferenceTrace_conv.csv
    moesim workload info conversation_trace.jsonl --json
    moesim workload info workload.yaml --seed 2 --page workload.html
    moesim workload info '{arrivals: {process: poisson, rate: 2 /s},
        prompt_tokens: 512, output_tokens: 128}'
"""

app = App(
    name="workload",
    help="Describe the requests of a service, as in `moesim workload info requests.csv`.",
    help_format="plaintext",
)
app.command(
    "simulator.cli.workload_info:info",
    name="info",
    help="""\
Describe a request trace or a workload: rate, bursts, lengths, classes.

Request traces: Azure LLM inference CSV, Mooncake JSON lines, BurstGPT CSV, Vidur CSV, ShareGPT-like JSON lines.
""",
    help_epilogue=_INFO_EXAMPLES,
)
