"""Measure what recording costs: generate with and without hooks, in turn, on a model of random weights.

    python bench/capture_overhead.py [--device cuda] [--repeats 80] [--out docs/measurements/capture-overhead.json]

writes the measurement and, with it, the table of docs/capture.md. Each pass runs plain and recorded in turn, so that a
machine that slows down slows both; the figure is the median of the ratios of neighbours. What a pass does not show, the
opening, the writing and the closing, is in the share of a whole generate that is spent inside the recorder, by the
clock of its thread; that leaves out what torch adds to call a hook, and adds what the clock itself costs.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
import transformers

from traces.capture import Recorder

REPOSITORY = Path(__file__).parent.parent
DOCUMENT = REPOSITORY / "docs" / "capture.md"
BEGIN, END = "<!-- capture-overhead -->\n", "<!-- /capture-overhead -->\n"
SHAPE = {
    "hidden_size": 768,
    "intermediate_size": 1536,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "vocab_size": 8192,
    "num_experts": 32,
    "num_experts_per_tok": 4,
    "moe_intermediate_size": 384,
    "max_position_embeddings": 4096,
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is generated."""

    name: str
    batch: int
    prompt_tokens: int
    new_tokens: int
    lookahead: int = 0


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Medians over the pairs; `overhead_frac` is that of their ratios, less 1, with quartiles."""

    num_pairs: int
    plain_pass_s: float
    recorded_pass_s: float
    overhead_frac: float
    overhead_low_frac: float
    overhead_high_frac: float
    inside_frac: float


class TimedRecorder(Recorder):
    """A recorder that adds up the time that its thread spends in it; on a GPU, time on the device is not in it."""

    inside_s = 0.0

    def timed(self, function: Callable[..., object]) -> Callable[..., None]:
        """Wrap a hook."""

        def hook(*arguments: object) -> None:
            started = time.thread_time()
            function(*arguments)
            self.inside_s += time.thread_time() - started

        return hook

    def __enter__(self) -> "TimedRecorder":
        started = time.thread_time()
        for name in ("_begin_pass", "_end_pass"):
            setattr(self._watch, name, self.timed(getattr(self._watch, name)))
        for name in ("_experts_hook", "_lookahead_hook"):
            make = getattr(self._watch, name)
            setattr(self._watch, name, lambda index, make=make: self.timed(make(index)))
        super().__enter__()
        self.inside_s += time.thread_time() - started
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        started = time.thread_time()
        super().__exit__(kind, *exc)
        self.inside_s += time.thread_time() - started


CASES = (
    Case(name="decode, batch 1", batch=1, prompt_tokens=32, new_tokens=32),
    Case(name="decode, batch 8", batch=8, prompt_tokens=32, new_tokens=12),
    Case(name="prefill, 4 x 128", batch=4, prompt_tokens=128, new_tokens=1),
    Case(name="decode, batch 1, lookahead 1", batch=1, prompt_tokens=32, new_tokens=32, lookahead=1),
    Case(name="decode, batch 1, lookahead 4", batch=1, prompt_tokens=32, new_tokens=32, lookahead=4),
)


def measure(model: transformers.PreTrainedModel, case: Case, repeats: int, device: str) -> Cost:
    """Return what recording costs in a case."""
    prompt = torch.randint(3, SHAPE["vocab_size"], (case.batch, case.prompt_tokens), device=device)
    with torch.inference_mode():
        pairs = paired_passes(model, case, prompt, repeats)
        inside = [inside_generate(model, case, prompt) for _ in range(3)]
    ratios = sorted(recorded / plain - 1 for plain, recorded in pairs)
    return Cost(
        num_pairs=len(pairs),
        plain_pass_s=round(statistics.median(plain for plain, _ in pairs), 5),
        recorded_pass_s=round(statistics.median(recorded for _, recorded in pairs), 5),
        overhead_frac=round(statistics.median(ratios), 4),
        overhead_low_frac=round(ratios[len(ratios) // 4], 4),
        overhead_high_frac=round(ratios[-1 - len(ratios) // 4], 4),
        inside_frac=round(statistics.median(inside), 4),
    )


def paired_passes(
    model: transformers.PreTrainedModel, case: Case, prompt: torch.Tensor, repeats: int
) -> list[tuple[float, float]]:
    """Feed each token three times over: to warm up, plain, and recorded, taking it out of the cache in between."""
    recorder = Recorder(model, lookahead=case.lookahead, eos_token_ids=())
    decodes = case.new_tokens > 1
    pairs = []
    cache = None
    if decodes:
        with recorder:
            cache = model(prompt, use_cache=True).past_key_values
    fed = prompt[:, :1] if decodes else prompt
    for _ in range(repeats):
        seconds = []
        for recorded in (False, False, True):
            if recorded:
                recorder.__enter__()
            seconds.append(timed(lambda: model(fed, past_key_values=cache, use_cache=decodes)))
            if recorded:
                recorder.detach()
            elif cache is not None:
                cache.crop(-1)
        pairs.append((seconds[1], seconds[2]))
    return pairs


def inside_generate(model: transformers.PreTrainedModel, case: Case, prompt: torch.Tensor) -> float:
    """Return the share of a recorded generate, from opening the trace to closing it, that is spent in the recorder."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.thread_time()
        recorder = TimedRecorder(model, Path(folder) / "t.safetensors", lookahead=case.lookahead)
        recorder.inside_s += time.thread_time() - started
        with recorder:
            model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=case.new_tokens,
                min_new_tokens=case.new_tokens,
                do_sample=False,
                pad_token_id=0,
            )
        return recorder.inside_s / (time.thread_time() - started)


def timed(action: Callable[[], object]) -> float:
    """Return the wall seconds of an action, with what it has queued on a GPU."""
    started = time.perf_counter()
    action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def machine(device: str) -> dict[str, object]:
    """Describe the machine."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "cpus": os.cpu_count(),
        "load_average_1min": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "gpu": torch.cuda.get_device_name() if device.startswith("cuda") else None,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def table(measurement: dict[str, object]) -> str:
    """Return a measurement as the lines of docs/capture.md."""
    where = measurement["machine"]
    shape = measurement["shape"]
    cases = measurement["cases"]
    assert isinstance(where, dict)
    assert isinstance(shape, dict)
    assert isinstance(cases, dict)
    lines = [
        f"Measured {where['date']} on {where['gpu'] or where['cpu']} ({where['cpus']} CPUs, {where['threads']} "
        f"torch thread{'s' if where['threads'] != 1 else ''}, load average {where['load_average_1min']}), "
        f"torch {where['torch']}, transformers {where['transformers']}, "
        f"Python {where['python']}; random weights of Qwen3-MoE, {shape['num_hidden_layers']} layers of "
        f"{shape['num_experts']} experts, top-{shape['num_experts_per_tok']}, width {shape['hidden_size']}, "
        f"{measurement['dtype']}.",
        "",
        "| case | pairs | plain pass | recorded pass | slower by: median (quartiles) | inside the recorder |",
        "|---|---|---|---|---|---|",
    ]
    for name, cost in cases.items():
        lines.append(
            f"| {name} | {cost['num_pairs']} | {cost['plain_pass_s'] * 1e3:.1f} ms | "
            f"{cost['recorded_pass_s'] * 1e3:.1f} ms | "
            f"{cost['overhead_frac']:+.1%} ({cost['overhead_low_frac']:+.1%} to "
            f"{cost['overhead_high_frac']:+.1%}) | {cost['inside_frac']:.1%} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, write the measurement, and put the table into the documentation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=80)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs" / "measurements" / "capture-overhead.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    config = transformers.Qwen3MoeConfig(**SHAPE, eos_token_id=None, pad_token_id=0)
    model = transformers.Qwen3MoeForCausalLM(config).to(options.device, getattr(torch, options.dtype)).eval()
    described = machine(options.device)
    cases = {
        case.name: asdict(
            measure(
                model, case, max(5, options.repeats // (case.batch * (1 if case.new_tokens > 1 else 4))), options.device
            )
        )
        for case in CASES
    }
    measurement = {
        "machine": described,
        "shape": SHAPE,
        "dtype": options.dtype,
        "cases": cases,
    }
    options.out.write_text(json.dumps(measurement, indent=1) + "\n", encoding="utf-8")
    print(table(measurement))  # noqa: T201
    if options.out.resolve().parent == DOCUMENT.parent / "measurements":
        before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        DOCUMENT.write_text(before + BEGIN + table(measurement) + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
