"""The command line: `moesim`. Each command group is a module of this package, imported when it is used.

Exit codes: 0; 1 for an unexpected error (with its traceback); 2 for a fault of the user's input, told in one message.
"""

import sys

from cyclopts import App, CycloptsError

app = App(
    name="moesim",
    help="""\
Simulate offloaded mixture-of-experts serving: recorded routing in, timings out.

Begin with `moesim run examples/fixed_costs.yaml`, and with `--help` after any command.
""",
    version="0.1.0",
    help_format="plaintext",  # markdown takes 40 ms to import
    print_error=False,
    exit_on_error=False,
    suppress_keyboard_interrupt=False,
)
app.command(
    "simulator.cli.run:run",
    name="run",
    help="""\
Simulate one scenario: how fast tokens come, and where the time goes.

Options replace what the scenario file says; without a file they are the scenario, and need at least `--trace`, `--model`
and `--hardware`.
""",
    help_epilogue="""\
Examples:

    moesim run examples/fixed_costs.yaml
    moesim run examples/fixed_costs.yaml --cache-frac 0.5 --json
    moesim run examples/fixed_costs.yaml --set durations.transfer="2 ms"
    moesim run examples/fixed_costs.yaml --out results/a --timeline
    moesim run --trace t.safetensors --model gpt-oss-20b --hardware rtx-4090
    moesim run examples/service.yaml --replications 10 --jobs 4
""",
)
app.command(
    "simulator.cli.compare:compare",
    name="compare",
    help="""\
Run systems side by side on one scenario: which is fastest here, and what it costs the output.

Each runs on the scenario's trace, model, machine, cache capacity and load; the scenario's own system and policies are laid
aside. On-demand fetching, two oracles and a GPU that holds all experts are run as well, to hold the others against. A
system that fails is a row with its reason, as oracles do in a service. Where a system learns and the scenario sets nothing
apart (`fit`), the first half of the sequences is, for all.
""",
    help_epilogue="""\
Examples:

    moesim compare examples/demo.yaml
    moesim compare examples/demo.yaml --systems fiddler,hobbit,promoe --max-tokens 200
    moesim compare examples/demo.yaml --set cache.frac=0.1 --out results/compared
    moesim compare examples/demo.yaml --systems all --json
    moesim compare examples/service.yaml --systems promoe --replications 10
""",
)
app.command(
    "simulator.cli.capacity:capacity",
    name="capacity",
    help="""\
Find the largest rate of requests that a service sustains: so that a share of them keeps to its SLO, or, where nothing is
promised, so that the backlog does not grow.

The workload's requests come closer together or further apart, the same ones each time, until a rate that is sustained and
one that is not are close enough.
""",
    help_epilogue="""\
Examples:

    moesim capacity examples/service.yaml
    moesim capacity examples/service.yaml --share 0.95 --tolerance 0.05
    moesim capacity examples/service.yaml --replications 5 --out results/capacity
    moesim capacity examples/service.yaml --set slo.default.ttft="1 s" --json
""",
)
app.command(
    "simulator.cli.sweep:sweep",
    name="sweep",
    help="""\
Run a scenario at many points: each value of each axis with each other, or a sample of them. One table has a row for each,
with the command that runs that point alone.

Results are stored as they come. A call that was interrupted, or killed, goes on where it was: give the same command again.
""",
    help_epilogue="""\
Examples:

    moesim sweep examples/sweep.yaml --dry-run
    moesim sweep examples/sweep.yaml --out results/sweep
    moesim sweep examples/sweep.yaml --out results/sweep --shard 1/2
    moesim sweep examples/sweep.yaml --out results/short --set max_tokens=100 --jobs 2
""",
)
app.command(
    "simulator.cli.explain:explain",
    name="explain",
    help="""\
Say where the time of a run went, and what would help: the run again with one thing changed at a time, idealised runs that
bound it, how much cache and link would be enough, and sentences to act on, each with the `--set` that repeats it.

RUN is a folder that `moesim run --out` wrote, or a scenario file. With `--out` results are kept as they come: a call that
was interrupted goes on where it was.
""",
    help_epilogue="""\
Examples:

    moesim explain examples/demo.yaml --max-tokens 300
    moesim explain examples/demo.yaml --max-tokens 300 --out results/explained
    moesim explain results/demo --objective tpot_p99_s --share 0.02
    moesim explain examples/fixed_costs.yaml --set cache.experts=4 --json
""",
)
app.command(
    "simulator.cli.plan:plan",
    name="plan",
    help="""\
Say in seconds whether a model fits a machine, how fast it will be, and what to change first.

No scenario and no trace are needed: what is assumed of routing is said, and the speed is an interval.

With a file of machines and settings, their prices and a promise, search it for the cheapest that keeps the promise.
""",
    help_epilogue="""\
Examples:

    moesim plan --model qwen3-30b-a3b --vram 24GiB --ram 64GiB --pcie gen4x16
    moesim plan --model gpt-oss-120b --gpu rtx-5090 --ram 96GiB --context 16384
    moesim plan --model mixtral-8x7b --gpu rtx-3090 --quant q4_k_m
    moesim plan --model gpt-oss-20b --vram 12GiB --trace t.safetensors --json
    moesim plan examples/plan.yaml --store results/plan
""",
)
app.command(
    "simulator.cli.mrc:mrc",
    name="mrc",
    help="""\
Measure how often an expert cache of each size misses, without a clock: LRU at every size, others at some.

Belady's optimum bounds what any eviction policy could reach. The counts are the simulator's own.
""",
    help_epilogue="""\
Examples:

    moesim mrc t.safetensors
    moesim mrc t.safetensors --model gpt-oss-20b --html curves.html
    moesim mrc t.safetensors --policies belady,lfu,s3fifo,arc --sizes 10%,25%,50%
    moesim mrc t.safetensors --layer 3 --csv layer3.csv
    moesim mrc t.safetensors --batch 8 --scope global --json
""",
)
app.command(
    "simulator.cli.systems:systems",
    name="systems",
    help="""\
List the systems that ship, with what each loses of the output, or show one in detail: its source, where the composition
differs from the real system, and its settings.
""",
    help_epilogue="""\
Examples:

    moesim systems
    moesim systems fiddler
    moesim systems hobbit --json
""",
)
app.command(
    "simulator.cli.models:models",
    name="models",
    help="""\
List the models that ship, or show one in detail.

Bytes are those of the released formats unless `--quantisation` names another for all weights. A `*` marks a model of
which some figure has no checked source; its detail names which, and why.
""",
    help_epilogue="""\
Examples:

    moesim models
    moesim models mixtral-8x7b
    moesim models qwen3-30b-a3b --quantisation q4_k
    moesim models ./my-model/config.json --quantisation "4.25 bit"
    moesim models --json
""",
)
app.command(
    "simulator.cli.hardware:app",
    name="hardware",
    help="List the machines and links that ship: `moesim hardware list`, `moesim hardware show rtx-4090`.",
)
app.command(
    "simulator.cli.trace:app",
    name="trace",
    help="Import, describe and synthesise routing traces, as in `moesim trace info t.safetensors`.",
)
app.command(
    "simulator.cli.workload:app",
    name="workload",
    help="Describe the requests of a service, as in `moesim workload info requests.csv`.",
)
app.command(
    "simulator.cli.schema:schema",
    name="schema",
    help="""\
Write the JSON Schema of a kind of file (scenario, sweep, profile or model), with which editors complete keys, explain them
and mark faults.
""",
    help_epilogue="""\
Examples:

    moesim schema scenario > scenario.schema.json
    moesim schema profile > profile.schema.json
""",
)
app.command(
    "simulator.cli.capture:capture",
    name="capture",
    help="""\
Record what a live model routes, as a trace: needs the extra `live` (torch and transformers).

Prompts are recorded as prefill, generated tokens as decode. Interrupting it leaves a valid shorter trace.
""",
    help_epilogue="""\
Examples:

    moesim capture traces/nano/model --prompts traces/nano/prompts.jsonl --out mine.safetensors --lookahead 3
    moesim capture allenai/OLMoE-1B-7B-0924 --prompts prompts.txt --out olmoe --max-new-tokens 256 --batch 8
    moesim capture ./my-model --prompts texts.jsonl --out texts.safetensors --teacher-forced
""",
)
app.command(
    "validation.cli.calibrate:calibrate",
    name="calibrate",
    help="""\
Measure this machine for a model, and write a hardware profile: needs the extra `live` (torch, transformers, scipy).

Leave the machine alone meanwhile. One that was killed goes on where it was: give the same command again.
""",
    help_epilogue="""\
Examples:

    moesim calibrate --device cpu --model lab-wide --out mine.yaml --page mine.html
    moesim calibrate --device cuda:0 --model ./my-model/config.json --out gpu.yaml --budget "5 min"
    moesim run examples/demo.yaml --hardware mine.yaml
""",
)

app.command(
    "validation.cli.validate:validate",
    name="validate",
    help="""\
Replay a suite on a device, simulate it, and report the error of each configuration: needs the extra `live` (torch and
transformers) and profiles from `moesim calibrate`.

Replays are kept as they end: a call that was interrupted goes on where it stopped.
""",
    help_epilogue="""\
Examples:

    moesim validate validation/suites/cpu-quick.yaml --profile cpu.yaml
    moesim validate validation/suites/cpu.yaml --profile lab-wide=a.yaml
        --profile lab-narrow=b.yaml --results validation/results/cpu.json
    moesim validate validation/suites/cuda-large.yaml --device cuda:0
        --profile gpu.yaml --model qwen3-30b-a3b
""",
)

app.command(
    "validation.cli.quality:quality",
    name="quality",
    help="""\
Measure what lossy policies cost a model in perplexity, at several cache sizes, and fit it to what the simulator counts:
needs the extra `live` (torch, transformers, scipy).

The curves that ship were measured on moesim-nano; a run's `quality` is estimated from them.
""",
    help_epilogue="""\
Examples:

    moesim quality ./my-model --texts held-out.jsonl --learn-from train.jsonl
    moesim quality ./my-model --texts texts.txt --segments 12 --device cuda:0
    moesim quality traces/nano/model --texts evaluated.jsonl
        --learn-from learned.jsonl --results validation/results/quality.json
""",
)


def main() -> None:
    """Run `moesim`; the console script."""
    from hardware_profiles.errors import InputError
    from traces.errors import TraceError

    try:
        try:
            app(sys.argv[1:])
        except CycloptsError as error:
            from simulator.cli.usage import usage_fault

            raise usage_fault(error, app) from None
    except (InputError, TraceError) as error:
        print(f"moesim: error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)
    except KeyboardInterrupt:
        print("moesim: interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(130)
