"""Play a system on a hand-made load, on a machine of round durations, and write down what happened, in microseconds.

    layer's non-expert work 200   expert on the GPU 100   transfer 1000 (a 4 bit copy 250)   step's own work 50
    expert on the CPU 400, and 20 for the way of each token's state to it and back

A log has a line for each transfer, kernel and expert on the CPU, in the order of their starts, such as `fetch 0.2 200-1200`
for expert 2 of layer 0: `fetch` and `prefetch` on the link, `run` on the GPU, `cpu` on the CPU,
`back` for a copy back to the host. `low` marks a 4 bit copy.
"""

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
import yaml

from hardware_profiles.yaml_file import read_yaml
from simulator.run import simulate
from simulator.scenario import build_scenario
from traces.format import Sequences, TraceMetadata, write_trace

Token = Sequence[Sequence[int]]
"""Experts of one token, [layers][top_k]."""

_STATED = {"kind": "assumed", "source": "stated, to be checked by hand"}
_DURATIONS = {
    "cpu_expert": {"constant": "400 us", **_STATED},
    "transfer": {"bytes": ["3 KiB", "12 KiB"], "time": ["250 us", "1 ms"], **_STATED},
}
_OF_STATES = {"value": "12.8 MB/s", **_STATED}  # 128 B in 10 us; experts take the stated time
LIBRARY = Path(__file__).parents[2] / "hardware_profiles" / "library"
_GPU, _LINK, _FIRST_WORKER = 1, 2, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What happened: the log, the summary of the run, and its attribution in microseconds, without zeros."""

    log: Sequence[str]
    summary: Mapping[str, object]
    attribution_us: Mapping[str, float]

    def lines(self, *kinds: str) -> Sequence[str]:
        """Return the lines of some kinds."""
        return [line for line in self.log if line.split()[0] in kinds]

    def keys(self, *kinds: str) -> Sequence[str]:
        """Return which experts the lines of some kinds are about."""
        return [line.split()[1] for line in self.lines(*kinds)]

    @property
    def loss(self) -> Mapping[str, float]:
        """What was done to the gates' picks."""
        return cast(Mapping[str, float], self.summary["loss"])

    @property
    def prefetches(self) -> Mapping[str, int]:
        """What became of prefetches."""
        return cast(Mapping[str, int], self.summary["prefetches"])


def play(
    system: str,
    *sequences: Sequence[Token],
    num_experts: int = 4,
    weights: Sequence[float] | None = None,
    prompts: Sequence[int] | None = None,
    hardware_set: Mapping[str, object] | None = None,
    **settings: object,
) -> Played:
    """Run a system on sequences of tokens, on an empty cache of `cache` unless the system places experts.

    `weights` are the gate weights of every token in every layer, by rank. `settings` are those of a scenario.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        values = load(folder, sequences, num_experts=num_experts, weights=weights, prompts=prompts)
        values |= {"system": system, "hardware_set": dict(hardware_set or {}), **settings}
        result = simulate(build_scenario(values, system), source=system, timeline_path=folder / "timeline.json.gz")
        log = _log(folder / "timeline.json.gz")
    attribution = result.summary["attribution_ns"]
    assert isinstance(attribution, Mapping)
    attribution_us = {cause: value / 1000 for cause, value in attribution.items() if value}
    return Played(log=log, summary=result.summary, attribution_us=attribution_us)


def load(
    folder: Path,
    sequences: Sequence[Sequence[Token]],
    *,
    num_experts: int,
    weights: Sequence[float] | None = None,
    prompts: Sequence[int] | None = None,
    lookahead: int = 0,
) -> dict[str, object]:
    """Write trace and model of a load; return a scenario's values. `lookahead` gates ahead are recorded, without error."""
    ids = np.array([token for tokens in sequences for token in tokens], np.uint8)
    num_tokens, num_layers, top_k = ids.shape
    gate = None
    if weights is not None:
        gate = np.broadcast_to(np.array(weights, np.float16), ids.shape).copy()
    ahead = None
    if lookahead:
        ahead = np.zeros((num_tokens, num_layers, lookahead, top_k), np.uint8)
        for layer in range(num_layers):
            for distance in range(lookahead):
                ahead[:, layer, distance] = ids[:, min(layer + distance + 1, num_layers - 1)]
    write_trace(
        folder / "trace.safetensors",
        Sequences(
            expert_ids=ids,
            gate_weights=gate,
            sequence_start=np.cumsum([0, *map(len, sequences)]).astype(np.int64),
            prompt_tokens=np.array(prompts or [0] * len(sequences), np.int32),
            lookahead_ids=ahead,
        ),
        TraceMetadata(model="tiny", num_experts=num_experts),
        overwrite=True,
    )
    model = {
        "name": "tiny",
        "source": "made up, to be worked through by hand",
        "hidden_size": 64,
        "num_layers": num_layers,
        "vocab_size": 256,
        "num_experts": num_experts,
        "top_k": top_k,
        "expert_intermediate_size": 32,
        "num_heads": 4,
        "num_kv_heads": 4,
        "head_dim": 16,
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(model), encoding="utf-8")
    write_machine(folder / "machine.yaml")
    return {
        "trace": str(folder / "trace.safetensors"),
        "model": str(folder / "model.yaml"),
        "hardware": str(folder / "machine.yaml"),
    }


def write_machine(path: Path) -> None:
    """Write the machine of round durations."""
    values = read_yaml(LIBRARY / "fixed-costs.yaml")
    durations, links = values["durations"], values["link"]
    assert isinstance(durations, dict)
    assert isinstance(links, dict)
    durations |= _DURATIONS
    links |= {"h2d": links["h2d"] | {"bandwidth": _OF_STATES}, "d2h": links["d2h"] | {"bandwidth": _OF_STATES}}
    path.write_text(json.dumps(values), encoding="utf-8")  # without the anchors that yaml would write


def _log(path: Path) -> Sequence[str]:
    """Read the lines off a timeline."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    lines = []
    for event in events:
        track, name = event["tid"], event["name"]
        if event["ph"] != "X":
            continue
        if track == _LINK:
            kind, key = ("prefetch" if name == "prefetch" else "fetch"), event["args"]["expert"]
        elif track == _GPU and "experts" in event["args"]:
            kind, key = "run", name
        elif name == "write-back":
            kind, key = "back", event["args"]["expert"]
        elif track >= _FIRST_WORKER:
            kind, key = "cpu", name
        else:
            continue
        start, end = event["ts"], event["ts"] + event["dur"]
        layer, expert, *precision = key.split()
        text = " ".join([kind, f"{layer[1:]}.{expert[1:]}", *precision, f"{start:g}-{end:g}"])
        lines.append((start, end, ("fetch", "prefetch", "back", "cpu", "run").index(kind), text))
    return [text for *_, text in sorted(lines)]
