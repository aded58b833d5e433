"""Every command of docs/importing.md runs, on files of the kind that it is about."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from simulator.cli import app
from tests.traces.importing.test_engines import (
    ANSWER,
    LLAMA_CPP,
    LOADS,
    PROMPT,
    WHOLE,
    as_int32,
    as_npy,
    cache_lab,
    recorder_pass,
    save_json,
    save_lines,
    usage,
    with_dense_layer,
)
from traces.format import open_trace
from traces.importing import read_load_matrix

DOCUMENT = Path(__file__).parents[3] / "docs" / "importing.md"
COMMANDS = [
    shlex.split(block.replace("\\\n", " ")) for block in re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    ids = np.array(WHOLE)
    start, category = np.array([0, 3]), np.array(["law"])
    np.savez("decode.npz", expert_ids=ids, sequence_start=start, prompt_len=np.array([9]), category=category)
    np.savez("prefill.npz", expert_ids=ids, sequence_start=start, category=category)
    save_lines(tmp_path / "routing.jsonl", {"request": 1, "experts": WHOLE[0]}, {"request": 1, "experts": WHOLE[1]})
    (tmp_path / "routing.csv").write_text("turn,step,layer,slot,expert\n0,0,0,0,1\n0,0,0,1,3\n")
    response = {"choices": [{"routed_experts": as_npy(ANSWER)}], "prompt_routed_experts": as_npy(PROMPT)}
    save_lines(tmp_path / "responses.jsonl", response)
    np.save("request-0.npy", ids)
    np.save("request-1.npy", ids[:2])
    info = {"routed_experts": as_int32(with_dense_layer(WHOLE, 0)), **usage(2, 2)}
    save_json(tmp_path / "generate.json", {"meta_info": info})
    save_json(tmp_path / "recorder.json", {"records": [recorder_pass([0, 1, 2], ids, [3])]})
    (tmp_path / "moe_trace.csv").write_text(LLAMA_CPP)
    header = {"model_name": "m", "num_layers": 1, "num_experts": 4, "top_k": 2}
    save_lines(tmp_path / "policylang.jsonl", header, {"p": 0, "t": 0, "l": 0, "e": [1, 2], "s": None, "ph": "decode"})
    for number in range(2):
        save_lines(tmp_path / f"cache-lab-{number}.jsonl", *cache_lab(1))
    save_json(tmp_path / "loads.json", LOADS)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[3])
def test_a_command_of_the_documentation_runs(folder: Path, command: list[str]) -> None:
    assert command[:3] == ["moesim", "trace", "import"]
    app(command[1:], result_action="return_value", exit_on_error=False)
    open_trace(folder / command[command.index("--out") + 1]).check()


def test_the_documentation_shows_each_format(folder: Path) -> None:
    assert len(COMMANDS) == 11
    assert read_load_matrix(folder / "loads.json").tolist() == LOADS
    lines = re.search(r"```json\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert lines is not None
    assert [sorted(json.loads(line)) for line in lines[1].splitlines()] == [
        ["expert_ids", "prompt_tokens"],
        ["expert_ids", "sequence"],
        ["expert_ids", "gate_weights", "layer", "sequence", "token"],
    ]
