"""What the user got wrong: one message that says what, where and what to do; exit code 2; nothing touched."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.cli.conftest import CommandLine, contents
from tests.traces import make

Tensor = NDArray[Any] | None
Prepare = Callable[[Path], object]
MACHINE = Path(__file__).parents[2] / "hardware_profiles" / "library" / "fixed-costs.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A command line, what is in the folder beside what works, and what the message must say."""

    name: str
    arguments: tuple[str, ...]
    says: tuple[str, ...]
    prepare: tuple[Prepare, ...] = field(default=())


def write(name: str, content: str | bytes) -> Prepare:
    """Put a file into the folder."""
    return lambda place: (place / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def scenario(name: str, *says: str, **changes: object) -> Case:
    """Run a scenario file that differs from the one that works; a change to None leaves the key out."""
    values: dict[str, object] = {
        "trace": "trace.safetensors",
        "model": "./model.yaml",
        "hardware": "fixed-costs",
        "cache": {"experts": 6},
    }
    values = {key: value for key, value in (values | changes).items() if value is not None}
    return Case(
        name=name,
        arguments=("run", "bad.yaml"),
        says=("bad.yaml", *says),
        prepare=(write("bad.yaml", json.dumps(values)),),
    )


def elsewhere(case: Case) -> Case:
    """Ask of the message that it names what is at fault, not the scenario file that names it."""
    return replace(case, says=case.says[1:])


def text(name: str, content: str | bytes, *says: str) -> Case:
    """Run a scenario file of any content."""
    return Case(
        name=name, arguments=("run", "bad.yaml"), says=("bad.yaml", *says), prepare=(write("bad.yaml", content),)
    )


def options(name: str, arguments: str, *says: str) -> Case:
    """Run the scenario that works with further options, which `|` divides."""
    return Case(name=name, arguments=("run", "ok.yaml", *arguments.split("|")), says=says)


def command(name: str, arguments: str, *says: str) -> Case:
    """Run any command, its arguments divided by `|`."""
    return Case(name=name, arguments=tuple(arguments.split("|")), says=says)


def trace(name: str, *says: str, metadata: dict[str, str] | None = None, cut: int = 0, **tensors: Tensor) -> Case:
    """Run with a trace of which some tensors, or the metadata, or the end of the file are spoilt."""

    def prepare(place: Path) -> None:
        arrays: dict[str, Any] = {
            "expert_ids": np.array([[[0, 1], [0, 1]], [[2, 3], [1, 3]]], np.uint8),
            "gate_weights": np.full((2, 2, 2), 0.5, np.float16),
            "sequence_start": np.array([0, 2], np.int64),
            "prompt_tokens": np.array([1], np.int32),
        }
        kept = {key: value for key, value in (arrays | tensors).items() if value is not None}
        shape = json.dumps({"num_layers": 2, "num_experts": 4, "top_k": 2})
        path = make.write_raw(
            place / "bad.safetensors", kept, {"format_version": "1", "shape": shape} | (metadata or {})
        )
        if cut:
            path.write_bytes(path.read_bytes()[:-cut])

    arguments = ("run", "ok.yaml", "--trace", "bad.safetensors")
    return Case(name=name, arguments=arguments, says=("bad.safetensors", *says), prepare=(prepare,))


def model(name: str, *says: str, **changes: object) -> Case:
    """Run with a model spec that differs from the one that works."""

    def prepare(place: Path) -> None:
        (place / "bad.yaml").write_text(f"{(place / 'model.yaml').read_text()}\n", encoding="utf-8")
        for key, value in changes.items():
            kept = [line for line in (place / "bad.yaml").read_text().splitlines() if not line.startswith(f"{key}:")]
            (place / "bad.yaml").write_text("\n".join([*kept, f"{key}: {value}", ""]), encoding="utf-8")

    arguments = ("run", "ok.yaml", "--model", "./bad.yaml")
    return Case(name=name, arguments=arguments, says=("bad.yaml", *says), prepare=(prepare,))


def machine(name: str, old: str, new: str, *says: str) -> Case:
    """Run on a machine of which one line differs from the one that works."""
    profile = MACHINE.read_text(encoding="utf-8")
    assert old in profile
    arguments = ("run", "ok.yaml", "--hardware", "./machine.yaml")
    return Case(
        name=name,
        arguments=arguments,
        says=("machine.yaml", *says),
        prepare=(write("machine.yaml", profile.replace(old, new, 1)),),
    )


BOMB = "a: &a [x, x]\n" + "".join(f"{new}: &{new} [*{old}, *{old}]\n" for old, new in pairwise("abcdefghi"))

CASES = [
    # the scenario file as a file
    command("no such scenario", "run|absent.yaml", "absent.yaml", "no such file", "check the path"),
    command("a folder as a scenario", "run|notes", "notes", "is a directory", "name a file"),
    command("a trace as a scenario", "run|trace.safetensors", "trace.safetensors", "not UTF-8"),
    text("empty file", "", "mapping", "nothing"),
    text("only a comment", "# later\n", "mapping", "nothing"),
    text("a list", "- trace: t\n", "mapping", "list"),
    text("a scalar", "42\n", "mapping", "int"),
    text("not UTF-8", b"trace: \xff\xfe\n", "not UTF-8", "byte 7", "save it as UTF-8"),
    text("UTF-16", "trace: x\n".encode("utf-16"), "not UTF-8", "save it as UTF-8"),
    text("a NUL character", "trace: \0\n", "moesim reads"),
    text("a tab", "cache:\n\tfrac: 1\n", "line 2", "column 1"),
    text("garbage", "{]\n", "line 1"),
    text("an unclosed quote", 'trace: "t\n', "line "),
    text("two documents", "trace: a\n---\ntrace: b\n", "line "),
    text("a bomb of aliases", BOMB, "line 2", "aliases"),
    text("a key twice", "trace: a\ntrace: b\n", "'trace'", "twice", "keep one"),
    text("a nested key twice", "cache: {frac: 0.5, frac: 0.6}\n", "'frac'", "twice"),
    text("a key that is no string", "1: a\n", "the key 1", "quote it"),
    text("nested too deep", f"trace: {'[' * 100}{']' * 100}\n", "deeper than 32 levels"),
    text("nested absurdly deep", f"trace: {'[' * 20000}{']' * 20000}\n", "deeper than 32 levels"),
    text("a Python tag", "trace: !!python/object/apply:os.system [ls]\n", "line 1", "python"),
    text("too large", f"# {'x' * (1 << 20)}\n", "1048576"),
    # its keys
    scenario("unknown key", "polcy: unknown key", "check its spelling", polcy="lru"),
    scenario("unknown nested key", "cache.fraction: unknown key", cache={"fraction": 0.5}),
    scenario("several faults at once", "3 faults", "polcy", "batch", "seed", polcy=1, batch=0, seed=-1),
    scenario("no trace", "trace: is missing", trace=None),
    scenario("no trace and no model", "trace: is missing", "model: is missing", trace=None, model=None),
    scenario("a list as a model", "model", "['a']", model=["a"]),
    scenario("batch 0", "batch", "0", "greater than or equal to 1", batch=0),
    scenario("batch as text", "batch", "'four'", batch="four"),
    scenario("batch as a fraction", "batch", "1.5", batch=1.5),
    scenario("batch as a truth value", "batch", "True", batch=True),
    scenario("batch 10**400", "batch", "less than or equal to 1000000000000", batch=10**400),
    scenario("negative seed", "seed", "-1", seed=-1),
    scenario("negative warm-up", "warmup_steps", "-1", warmup_steps=-1),
    scenario("a cache that is no mapping", "cache", "0.5", "indent its keys", cache=0.5),
    scenario("bare number as bytes", "cache.bytes", "6 is a bare number", "GiB", cache={"bytes": 6}),
    scenario("bytes without a unit", "cache.bytes", "'6000'", "bare number", "GiB", cache={"bytes": "6000"}),
    scenario("bytes in seconds", "cache.bytes", "'6 us'", "'us'", "bytes", cache={"bytes": "6 us"}),
    scenario("negative bytes", "cache.bytes", "'-6 GiB' is negative", cache={"bytes": "-6 GiB"}),
    scenario("1e400 GiB", "cache.bytes", "1e400 GiB", "larger than", cache={"bytes": "1e400 GiB"}),
    scenario("1e9999 GiB", "cache.bytes", "1e9999 GiB", cache={"bytes": "1e9999 GiB"}),
    scenario("negative experts", "cache.experts", "-6", cache={"experts": -6}),
    scenario("two sizes", "cache: gives experts and frac; keep one", cache={"experts": 6, "frac": 0.5}),
    scenario("unknown scope", "cache.scope", "'layer'", "per_layer", "global", cache={"experts": 6, "scope": "layer"}),
    scenario("a cache too small", "1 experts", "needs 2", "each of 2 banks", "12 KiB more", cache={"experts": 1}),
    scenario("bytes too few", "needs 2", "12 KiB more", cache={"bytes": "23 KiB"}),
    scenario("a share too small", "cache.frac = 0.2", "needs 2", "12 KiB more", cache={"frac": 0.2}),
    scenario("a share that staging uses up", "less 5 for staging", "needs 2", cache={"experts": 6, "staging": 5}),
    scenario(
        "all slots pinned, and a miss to fetch",
        "no slot is left",
        "staging",
        "larger cache",
        placement={"name": "pinned_popular", "staging": 0},
    ),
    scenario(
        "all slots pinned, in one pool",
        "no slot is left",
        cache={"experts": 6, "scope": "global"},
        placement={"name": "pinned_popular", "staging": 0},
    ),
    scenario("share 0", "cache.frac", "0.0", "above 0 and up to 1", cache={"frac": 0}),
    scenario("share above 1", "cache.frac", "1.5", "above 0 and up to 1", cache={"frac": 1.5}),
    text("share nan", "cache: {frac: .nan}\n", "cache.frac", "nan", "above 0 and up to 1"),
    text("share inf", "cache: {frac: .inf}\n", "cache.frac", "inf", "above 0 and up to 1"),
    scenario("too many sequences", "sequences: 3", "trace.safetensors", "has 2", "name fewer", sequences=3),
    scenario("no sequences", "sequences", "0", sequences=0),
    scenario("no tokens", "max_tokens", "0", max_tokens=0),
    scenario("warm-up as long as the run", "warmup_steps: 4", "has 4 steps", warmup_steps=4),
    # names
    scenario("unknown system", "'on-demand'", "did you mean 'on_demand'", system="on-demand"),
    scenario("unknown policy", "eviction: 'lruu'", "did you mean 'lru'", "module:Class", eviction="lruu"),
    scenario("unknown prefetch", "prefetch: 'oracle'", "known: none, gate_lookahead, ", prefetch="oracle"),
    scenario("unknown miss handling", "miss: 'drpo'", "did you mean 'drop'", miss="drpo"),
    scenario("policy without a name", "eviction", "name", eviction={"lookahead": 1}),
    scenario("policy as a number", "eviction", "3", eviction=3),
    scenario("unknown parameter", "lru: has no parameter decay", "it has none", eviction={"name": "lru", "decay": 2}),
    scenario(
        "unfit parameter",
        "prefetch: perfect: lookahead_layers is 0",
        "1 or more",
        prefetch={"name": "perfect", "lookahead_layers": 0},
    ),
    scenario(
        "parameter of the wrong type",
        "prefetch: perfect: lookahead_layers is 'two'",
        "a whole number",
        prefetch={"name": "perfect", "lookahead_layers": "two"},
    ),
    scenario(
        "parameter as a list",
        "eviction.decay: [1] is not a parameter",
        eviction={"name": "lru", "decay": [1]},
    ),
    scenario("no such module", "eviction: 'nowhere:LRU'", "cannot be imported", eviction="nowhere:LRU"),
    scenario("no such class", "eviction: 'json:LRU'", "cannot be imported", eviction="json:LRU"),
    scenario("module without a class", "eviction: 'json:'", eviction="json:"),
    scenario("a class that is no policy", "eviction: json:dumps", eviction="json:dumps"),
    scenario("a module that fails", "eviction: 'broken:LRU'", "cannot be imported", eviction="broken:LRU"),
    elsewhere(scenario("unknown model", "model: 'mixtral'", "mixtral-8x7b", "moesim models", model="mixtral")),
    elsewhere(scenario("no such model file", "absent.yaml", model="./absent.yaml")),
    elsewhere(scenario("unknown machine", "'rtx4090'", "did you mean 'rtx-4090'", hardware="rtx4090")),
    elsewhere(scenario("no such machine file", "absent.yaml", "no such file", hardware="./absent.yaml")),
    elsewhere(
        scenario("unknown link", "gen9x16", "gen5x16", pcie="gen9x16", hardware_set={"durations.transfer": "none"})
    ),
    elsewhere(scenario("a link without effect", "link.h2d.preset", "durations.transfer", pcie="gen5x16")),
    scenario("unknown quantisation", "quantisation", "'q4'", "q4_k", quantisation={"experts": "q4"}),
    scenario("unknown KV format", "quantisation", "'q4'", quantisation={"kv_cache": "q4"}),
    elsewhere(scenario("unknown path of the machine", "gpu.memry", "gpu.memory", hardware_set={"gpu.memry": "1 GiB"})),
    elsewhere(scenario("wrong unit for the machine", "gpu.memory", "'1 GB/s'", hardware_set={"gpu.memory": "1 GB/s"})),
    elsewhere(
        scenario(
            "machine's figure as a number", "gpu.memory: 3 is a bare number", "GiB", hardware_set={"gpu.memory": 3}
        )
    ),
    # the trace
    command("no such trace", "run|ok.yaml|--trace|absent.safetensors", "absent.safetensors", "no such file"),
    command("a folder without an index", "run|ok.yaml|--trace|notes", "notes", "index.json", "name a trace file"),
    command("a text as a trace", "run|ok.yaml|--trace|model.yaml", "model.yaml", "not a whole safetensors file"),
    command(
        "trace of another model", "run|ok.yaml|--model|olmoe-1b-7b", "trace.safetensors", "4 experts", "name the model"
    ),
    trace("a truncated trace", "truncated", cut=10),
    trace("no version", "format_version is '7'", metadata={"format_version": "7"}),
    trace("no shape", "shape", metadata={"shape": "[]"}),
    trace("no tokens in the trace", "empty", "(0, 2, 2)", expert_ids=np.zeros((0, 2, 2), np.uint8)),
    trace("no expert ids", "expert_ids is missing", "routing trace", expert_ids=None),
    trace("ids of the wrong type", "expert_ids", "I32", "U8 or U16", expert_ids=np.zeros((2, 2, 2), np.int32)),
    trace(
        "ids out of range",
        "expert 4 at token 1, layer 0",
        "num_experts = 4",
        expert_ids=np.array([[[0, 1], [0, 1]], [[2, 4], [1, 3]]], np.uint8),
    ),
    trace(
        "an expert twice",
        "[3, 3] at token 1, layer 1",
        "twice",
        expert_ids=np.array([[[0, 1], [0, 1]], [[2, 1], [3, 3]]], np.uint8),
    ),
    trace(
        "NaN weights",
        "gate_weights: nan at token 1, layer 0, rank 1",
        gate_weights=np.array([[[0.5, 0.5]] * 2, [[0.5, np.nan], [0.5, 0.5]]], np.float16),
    ),
    trace("offsets that do not ascend", "sequence_start", sequence_start=np.array([0, 0, 2], np.int64)),
    trace("prompt beyond the sequence", "prompt_tokens of sequence 0 is 3", prompt_tokens=np.array([3], np.int32)),
    # model spec and machine
    model("negative width", "hidden_size", "-64", hidden_size=-64),
    model("width as text", "hidden_size", "'wide'", hidden_size="wide"),
    model("more experts per token than there are", "top_k", "9", top_k=9),
    model("10**30 experts", "num_experts", "1000000000000", num_experts=10**30),
    model("unknown key of a model", "colour: unknown key", colour="red"),
    machine("a bare number in a machine", '"24 GiB"', "24", "gpu.memory", "24 is a bare number", "GiB"),
    machine("a negative memory", '"24 GiB"', '"-24 GiB"', "gpu.memory", "negative"),
    machine("a wrong unit in a machine", '"1000 GB/s"', '"1000 GiB"', "gpu.bandwidth", "'GiB'", "bytes/s"),
    machine("no bandwidth at all", '"1000 GB/s"', '"0 GB/s"', "gpu.bandwidth", "0 GB/s"),
    machine("an unknown kind", "kind: assumed", "kind: guessed", "gpu.memory", "guessed", "assumed"),
    # options
    command("nothing at all", "run", "scenario file", "missing: --trace, --model, --hardware"),
    command(
        "no machine among the options", "run|--trace|trace.safetensors|--model|./model.yaml", "missing: --hardware"
    ),
    command("unknown command", "rnu", "'rnu' is not a command", "did you mean 'run'"),
    command("unknown option", "run|ok.yaml|--batc|3", "--batc is not an option", "--batch", "moesim run --help"),
    command("one argument too many", "run|ok.yaml|ok.yaml", "'ok.yaml'", "too many", "moesim run --help"),
    options("batch that is no number", "--batch|four", "--batch: 'four' is not a whole number"),
    options("batch of a half", "--batch|1.5", "--batch: '1.5' is not a whole number"),
    options("batch without a value", "--batch", "--batch: needs a value"),
    options("batch twice", "--batch|1|--batch|2", "--batch: is given twice"),
    options("a flag with a value", "--json=perhaps", "--json", "'perhaps'"),
    options("option batch 0", "--batch|0", "batch", "0"),
    options("option seed -1", "--seed|-1", "seed", "-1"),
    options("option share nan", "--cache-frac|nan", "nan", "above 0 and up to 1"),
    options("option share inf", "--cache-frac|inf", "inf", "above 0 and up to 1"),
    options("option share that is no number", "--cache-frac|half", "--cache-frac: 'half' is not a number"),
    options("two sizes as options", "--cache-frac|0.5|--cache-experts|6", "experts and frac", "keep one"),
    options("option bytes as a number", "--cache-bytes|6", "bare number", "GiB"),
    options("option eviction", "--eviction|lruu", "eviction: 'lruu'", "did you mean 'lru'"),
    options("option system", "--system|fidler", "'fidler'", "on_demand"),
    options("option model", "--model|mixtral", "model: 'mixtral'", "mixtral-8x7b"),
    options("option hardware", "--hardware|rtx4090", "rtx-4090"),
    options("option pcie", "--hardware|rtx-4090|--pcie|gen9", "gen9", "gen4x16"),
    options("set without a value", "--set|batch", "--set batch", "path=value", "cache.scope=global"),
    options("set without a path", "--set|=3", "--set =3", "path=value"),
    options("set an unknown path", "--set|gpu.memry=3 GiB", "gpu.memry", "gpu.memory"),
    options("set a misspelt key", "--set|bacth=3", "bacth", "did you mean 'batch'"),
    options("set into a scalar", "--set|batch.size=3", "--set batch.size", "batch is 2", "'size'"),
    options("set a broken value", "--set|batch=[1", "--set batch", "'[1'", "quote it"),
    options("set an alias", "--set|cache=*a", "--set cache", "'*a'"),
    options("set a bomb", "--set|description=[&a [x, x], *a]", "--set description", "aliases"),
    options(
        "set something deep", f"--set|description={'[' * 20000}{']' * 20000}", "--set description", "deeper than 32"
    ),
    options("set a number of 5000 digits", f"--set|seed={'9' * 5000}", "--set seed", "digits"),
    options("set an empty part", "--set|cache..frac=0.5", "--set cache..frac", "single dots"),
    options("set to nothing", "--set|batch=", "batch", "None"),
    options("set the machine's memory to a number", "--set|gpu.memory=32", "gpu.memory", "32 is a bare number", "GiB"),
    # where results go
    options("a folder that holds results", "--out|results", "--out results", "holds files already", "--overwrite"),
    options("a folder that holds other files", "--out|notes|--overwrite", "--out notes", "diary.txt", "another folder"),
    options("a file as a folder", "--out|ok.yaml|--overwrite", "--out ok.yaml", "is a file", "name a folder"),
    options("a folder below a file", "--out|ok.yaml/results", "--out ok.yaml/results", "cannot be written"),
    options(
        "a folder that cannot be", "--out|/proc/nowhere/results", "--out /proc/nowhere/results", "cannot be written"
    ),
    options("this folder", "--out|.|--overwrite", "--out .", "that you are in"),
    Case(
        name="a folder where a result should be",
        arguments=("run", "ok.yaml", "--out", "odd", "--overwrite"),
        says=("--out odd", "summary.json", "another folder"),
        prepare=(lambda place: (place / "odd" / "summary.json").mkdir(parents=True),),
    ),
    Case(
        name="a link to itself as a folder",
        arguments=("run", "ok.yaml", "--out", "loop"),
        says=("--out loop", "cannot be written"),
        prepare=(lambda place: (place / "loop").symlink_to("loop"),),
    ),
    options("too long a name", f"--out|{'x' * 300}", "--out xxx", "cannot be written"),
    options("an empty name", "--out|", "--out", "that you are in"),
    options("a timeline that goes nowhere", "--timeline", "--timeline", "--out"),
    options("a page in no folder", "--html|none/page.html", "--html none/page.html", "not a folder", "another file"),
    options("a page as a folder", "--html|notes", "--html notes", "is a folder", "name a file"),
    options("a page and none", "--html|a.html|--no-html", "--html", "--no-html", "leave one"),
    options("fails while it holds a folder", "--out|results|--overwrite|--eviction|lruu", "eviction: 'lruu'"),
    options("fails before a new folder", "--out|new/results|--timeline|--warmup-steps|9", "warmup_steps: 9", "3 steps"),
    # other commands
    command("describe no trace", "trace|info|absent.safetensors", "absent.safetensors", "no such file"),
    command("describe a text", "trace|info|model.yaml", "model.yaml", "not a whole safetensors file"),
    command("measure no trace", "trace|stats|notes", "notes", "index.json"),
    command("synthesise from nothing", "trace|synth|--out|s.safetensors|--preset|gpt", "gpt", "gpt-oss-20b"),
    command("synthesise onto a file", "trace|synth|--out|ok.yaml|--preset|gpt-oss-20b|--tokens|4", "ok.yaml", "exist"),
    command(
        "synthesise a fraction", "trace|synth|--out|s.safetensors|--tokens|1.5", "--tokens: '1.5' is not a whole number"
    ),
    command("an unknown machine to show", "hardware|show|rtx4090", "rtx-4090"),
    command("no machine to show", "hardware|show", "MACHINE: needs a value", "moesim hardware show --help"),
    command("an unknown model to show", "models|mixtral", "mixtral-8x7b"),
    command("an unknown format to show", "models|mixtral-8x7b|--quantisation|q4", "--quantisation", "q4_k"),
]


@pytest.fixture(autouse=True)
def _broken_module(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the folder hold a module of the user's that raises as it is imported."""
    (place / "broken.py").write_text("raise RuntimeError('no such device')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(place)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_told_in_one_message(case: Case, place: Path, moesim: CommandLine) -> None:
    """Exit code 2, one message on stderr, nothing on stdout, every file as it was, and none more."""
    for prepare in case.prepare:
        prepare(place)
    before = contents(place.parent)
    outcome = moesim(*case.arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("moesim: error: ")
    assert outcome.err.endswith("\n")
    assert outcome.err.count("moesim: error:") == 1
    assert "Traceback" not in outcome.err
    assert [words for words in case.says if words not in outcome.err] == []
    lines = outcome.err.splitlines()
    assert all(line.startswith("  - ") for line in lines[1:]), "one message, and a line for each of several faults"
    assert contents(place.parent) == before


def test_case_names_are_unique() -> None:
    """Each case is there once."""
    names = [case.name for case in CASES]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("run", "absent.yaml"), "absent.yaml: no such file"), (("run", "ok.yaml", "--batch", "x"), "not a whole number")],
)
def test_the_same_from_a_shell(arguments: tuple[str, ...], says: str, place: Path) -> None:
    """A process of its own ends with 2 and the message alone."""
    code = "from simulator.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("moesim: error: ")
    assert says in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
