"""What engines and other tools write becomes the trace that it describes. All samples are made by hand."""

import base64
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.traces.importing.conftest import Import
from traces.errors import TraceError
from traces.importing import FORMATS, ImportOptions, detect_format, import_trace, read_load_matrix

Ids = list[list[list[int]]]

PROMPT = [[[1, 0], [2, 3]], [[0, 3], [3, 1]]]  # [2 tokens, 2 layers, 2]
ANSWER = [[[2, 1], [0, 1]]]
WHOLE = PROMPT + ANSWER


def save_json(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def save_lines(path: Path, *lines: object) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def as_npy(ids: Ids) -> str:
    file = io.BytesIO()
    np.save(file, np.array(ids, np.uint8))
    return base64.b64encode(file.getvalue()).decode()


def as_int32(ids: object) -> str:
    return base64.b64encode(np.array(ids, "<i4").tobytes()).decode()


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}


def as_object(ids: Ids) -> dict[str, object]:
    data = base64.b64encode(np.array(ids, "<i2").tobytes()).decode()
    return {"data": data, "shape": list(np.shape(ids)), "dtype": "int16", "start": 0}


@pytest.mark.parametrize("encode", [lambda ids: ids, as_npy, as_object])
def test_vllm_response_with_the_prompts_routing(
    tmp_path: Path, run_import: Import, encode: Callable[[Ids], object]
) -> None:
    """Prompt and completion come apart; two choices are two sequences with the same prompt."""
    choice = {"index": 0, "text": "", "routed_experts": encode(ANSWER)}
    response = {"model": "tiny-moe", "choices": [choice, choice], "prompt_routed_experts": encode(PROMPT)}
    trace = run_import(save_json(tmp_path / "r.json", response), "--num-experts", 4)
    assert trace.expert_ids(0, 6).tolist() == WHOLE + WHOLE
    assert trace.prompt_tokens.tolist() == [2, 2]
    assert trace.context_start.tolist() == [0, 0]
    assert trace.metadata.model == "tiny-moe"
    assert trace.metadata.captured.startswith("vLLM")


@pytest.mark.parametrize(
    ("rows", "counts", "prompt", "context"),
    [
        (WHOLE, usage(2, 2), 2, 0),  # all but the last token
        (WHOLE, usage(2, 1), 2, 0),  # the last, too
        (ANSWER, usage(7, 2), 0, 7),  # generated tokens alone
        (WHOLE, usage(9, 3), 0, 9),
        (WHOLE, usage(6, 2), 2, 4),  # the prompt from a prefix on
    ],
)
def test_vllm_rows_are_placed_by_the_usage(
    tmp_path: Path, run_import: Import, rows: Ids, counts: dict[str, int], prompt: int, context: int
) -> None:
    response = {"choices": [{"routed_experts": as_npy(rows)}], "prompt_routed_experts": None, "usage": counts}
    trace = run_import(save_lines(tmp_path / "r.jsonl", response), "--num-experts", 4)
    assert trace.expert_ids(0, len(rows)).tolist() == rows
    assert (trace.prompt_tokens.tolist(), trace.context_start.tolist()) == ([prompt], [context])


def test_vllm_arrays_saved_per_request(tmp_path: Path, run_import: Import) -> None:
    """One `.npy` per request, or all in one `.npz`."""
    np.save(tmp_path / "a.npy", np.array(WHOLE, np.int32))
    np.save(tmp_path / "b.npy", np.array(PROMPT, np.int16))
    np.savez(tmp_path / "both.npz", first=np.array(WHOLE), second=np.array(PROMPT))
    arguments = ("--num-experts", 4, "--prompt-tokens", 1)
    apart = run_import(tmp_path / "a.npy", tmp_path / "b.npy", *arguments)
    both = run_import(tmp_path / "both.npz", "--format", "vllm", *arguments, out="both")
    for trace in (apart, both):
        assert trace.expert_ids(0, 5).tolist() == WHOLE + PROMPT
        assert trace.sequence_start.tolist() == [0, 3, 5]
        assert trace.prompt_tokens.tolist() == [1, 1]


SGLANG_SHAPE = ("--num-layers", 3, "--top-k", 2, "--skip-layer", 0, "--num-experts", 4)


def with_dense_layer(ids: object, filler: int) -> NDArray[np.int32]:
    array = np.array(ids, np.int32)
    return np.concatenate([np.full_like(array[:, :1], filler), array], axis=1)


@pytest.mark.parametrize("filler", [0, -1, 255])
def test_sglang_generate(tmp_path: Path, run_import: Import, filler: int) -> None:
    """Flat int32 of all layers, a dense one included; the routing of the last token is not there."""
    info = {"routed_experts": as_int32(with_dense_layer(WHOLE, filler)), **usage(2, 2)}
    path = save_json(tmp_path / "r.json", [{"text": "", "meta_info": info}])
    trace = run_import(path, *SGLANG_SHAPE)
    assert trace.expert_ids(0, 3).tolist() == WHOLE
    assert (trace.prompt_tokens.tolist(), trace.context_start.tolist()) == ([2], [0])
    with pytest.raises(TraceError, match="--skip-layer 0"):
        run_import(path, "--num-layers", 3, "--top-k", 2, "--num-experts", 4, out="dense")


@pytest.mark.parametrize("place", ["sgl_ext", "choice"])
def test_sglang_openai_endpoint_from_a_prefix_on(tmp_path: Path, run_import: Import, place: str) -> None:
    """With `routed_experts_start_len` 5 the rows begin at token 5, of 7 prompt tokens."""
    routed = {"routed_experts": as_int32(with_dense_layer(WHOLE, 0))}
    choice = {"sgl_ext": routed} if place == "sgl_ext" else routed
    response = {"model": "tiny-moe", "choices": [choice], "usage": usage(7, 2)}
    trace = run_import(save_json(tmp_path / "r.json", response), *SGLANG_SHAPE, "--format", "sglang")
    assert (trace.prompt_tokens.tolist(), trace.context_start.tolist()) == ([2], [5])
    assert trace.metadata.model == "tiny-moe"


def recorder_pass(positions: list[int], ids: NDArray[Any], lengths: list[int] | None) -> dict[str, object]:
    """Return a record as the recorder writes it: [layers, tokens, 8], -1 where nothing is routed."""
    padded = np.full((ids.shape[1] + 1, len(ids), 8), -1)
    padded[1:, :, : ids.shape[2]] = ids.transpose(1, 0, 2)
    return {
        "forward_pass_id": 1,
        "rank": 0,
        "gatherer_key": "primary",
        "input_ids": [7] * len(ids),
        "positions": positions,
        "extend_seq_lens": lengths,
        "forward_mode": 1 if lengths else 2,
        "topk_ids_of_layer": padded.tolist(),
    }


def test_sglang_recorder(tmp_path: Path, run_import: Import) -> None:
    """Two prompts in one pass, the second in two chunks; then three decode steps, in which the first request ends.

    Physical experts are the logical ones backwards, in layer 2 alone.
    """
    rng = np.random.default_rng(0)
    ids = np.argsort(rng.random((11, 2, 4)), axis=-1)[..., :2]
    records = [
        recorder_pass([0, 1, 0, 1], ids[:4], [2, 2]),
        recorder_pass([2], ids[4:5], [1]),
        recorder_pass([2, 3], ids[5:7], None),
        recorder_pass([4], ids[7:8], None),
        recorder_pass([5], ids[8:9], None),
        recorder_pass([3, 4], ids[9:11], [2]),
    ]
    mapping = [[0, 1, 2, 3], [0, 1, 2, 3], [3, 2, 1, 0]]
    path = save_json(tmp_path / "dump.json", {"records": records, "last_physical_to_logical_map": mapping})
    trace = run_import(path, "--num-experts", 4)
    logical = ids.copy()
    logical[:, 1] = 3 - logical[:, 1]
    np.testing.assert_array_equal(trace.expert_ids(0, 11), logical[[0, 1, 5, 2, 3, 4, 6, 7, 8, 9, 10]])
    assert trace.sequence_start.tolist() == [0, 3, 9, 11]
    assert trace.prompt_tokens.tolist() == [2, 3, 2]
    assert trace.context_start.tolist() == [0, 0, 3]
    assert trace.metadata.extra["source_layers"] == "1,2"
    assert "import_notes" not in trace.metadata.extra


def test_sglang_recorder_says_where_it_cannot_tell_requests_apart(tmp_path: Path, run_import: Import) -> None:
    ids = np.array(WHOLE + WHOLE)
    records = [recorder_pass([0, 1, 0, 1], ids[:4], [2, 2]), recorder_pass([2, 2], ids[4:], None)]
    trace = run_import(save_json(tmp_path / "d.json", {"records": records}), "--num-experts", 4)
    assert trace.sequence_start.tolist() == [0, 3, 6]
    assert "1 tokens were given to the earliest of several requests" in trace.metadata.extra["import_notes"]


LLAMA_CPP = """\
1,3
1,0
1,2
1,1
2,1
2,0
1,0
1,1
2,2
2,3
1,2
1,3
2,0
2,3
"""  # a prompt of two tokens, the last layer of its second alone; then two decode steps


def test_llama_cpp(tmp_path: Path, run_import: Import, capsys: pytest.CaptureFixture[str]) -> None:
    """The prompt's pass lacks rows of the last layer: it is left out, and said, or kept without that layer."""
    path = tmp_path / "moe_trace.csv"
    path.write_text(LLAMA_CPP)
    trace = run_import(path, "--num-experts", 4)
    assert trace.expert_ids(0, 2).tolist() == [[[0, 1], [2, 3]], [[2, 3], [0, 3]]]
    assert (trace.prompt_tokens.tolist(), trace.context_start.tolist()) == ([0], [2])
    assert trace.metadata.extra["source_layers"] == "1,2"
    error = capsys.readouterr().err
    assert "2 prompt tokens of 1 passes left out" in error
    assert "top-k taken to be 2" in error
    kept = run_import(path, "--num-experts", 4, "--skip-layer", 2, "--top-k", 2, out="kept")
    assert kept.expert_ids(0, 4).tolist() == [[[3, 0]], [[2, 1]], [[0, 1]], [[2, 3]]]
    assert (kept.prompt_tokens.tolist(), kept.context_start.tolist()) == ([2], [0])


def test_moe_policylang(tmp_path: Path, run_import: Import) -> None:
    """Rows in the order of the hooks: layer by layer within a pass, prompt after prompt."""
    header = {"model_name": "tiny/moe", "num_layers": 2, "num_experts": 4, "top_k": 2, "num_entries": 8}
    rows = [
        {
            "p": p,
            "t": t,
            "l": layer,
            "e": WHOLE[t][layer],
            "s": [0.5, 0.25],
            "ti": 9,
            "ph": phase,
            "dm": ["code", "law"][p],
        }
        for p, of_pass in ((0, ((0, 1), (2,))), (1, ((0,),)))
        for tokens, phase in zip(of_pass, ("prefill", "decode"), strict=False)
        for layer in range(2)
        for t in tokens
    ]
    trace = run_import(save_lines(tmp_path / "t.jsonl", header, *rows))
    assert trace.expert_ids(0, 4).tolist() == [*WHOLE, WHOLE[0]]
    assert trace.gate_weights(0, 4)[0, 0].tolist() == [0.5, 0.25]
    assert trace.prompt_tokens.tolist() == [2, 1]
    assert (trace.metadata.model, trace.num_experts, trace.metadata.categories) == ("tiny/moe", 4, ("code", "law"))
    assert "key not imported: ti" in trace.metadata.extra["import_notes"]


def selection(token: int, layer: int, phase: str, **more: object) -> dict[str, object]:
    experts = {"selected_experts": WHOLE[token][layer], "selected_probabilities": [0.5, 0.25]}
    place = {"token_position": token, "layer": layer + 1, "phase": phase}
    return {"record_type": "routing_selection", **place, **experts, **more}


ORDER = ((0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (2, 1))


def cache_lab(version: int) -> list[object]:
    header: dict[str, object] = {
        "record_type": "metadata",
        "format": "moe-cache-lab.routing-jsonl",
        "format_version": version,
        "model_id": "tiny/moe",
        "capture_method": "by hand",
    }
    if version == 1:
        phases = ("prompt", "generated")
        return [header | {"num_experts": 4}, *(selection(t, layer, phases[t == 2]) for t, layer in ORDER)]
    stage = {"routing_stage": "decoder", "num_experts": 4, "assigned_experts_per_token": 2, "allows_unassigned": False}
    more = {"routing_stage": "decoder", "assignment_state": "assigned"}
    phases = ("decoder_prompt", "decoder_generated")
    rows = [selection(t, layer, phases[t == 2], **more) for t, layer in ORDER]
    return [header | {"routing_stages": [stage]}, *rows]


@pytest.mark.parametrize("version", [1, 2])
def test_moe_cache_lab(tmp_path: Path, run_import: Import, version: int) -> None:
    path = save_lines(tmp_path / "t.jsonl", *cache_lab(version))
    trace = run_import(path, path)  # a file is one sequence
    assert trace.expert_ids(0, 6).tolist() == WHOLE + WHOLE
    assert trace.prompt_tokens.tolist() == [2, 2]
    assert (trace.metadata.model, trace.num_experts) == ("tiny/moe", 4)
    assert trace.metadata.captured == "moe-cache-lab, by hand"
    assert trace.metadata.extra["source_layers"] == "1,2"


LOADS = [[5, 0, 2], [1, 1, 5]]


def load_files(folder: Path) -> dict[str, Path]:
    (folder / "t.csv").write_text("5,0,2\n1,1,5\n")
    np.save(folder / "t.npy", np.array(LOADS, np.float32))
    np.savez_compressed(folder / "t.npz", loads=np.array([[[4, 0, 2], [1, 0, 5]], [[1, 0, 0], [0, 1, 0]]]))
    records = [{"global_physical_count": [[1, 2, 3, 1], [5, 1, 0, 1]]}, {"global_physical_count": [[0] * 4] * 2}]
    mapping = [[0, 2, 0, 0], [2, 0, 1, 1]]
    per_pass = {"records": records, "last_physical_to_logical_map": mapping}
    by_number = {"3": {"0": 5, "2": 2}, "10": {"0": 1, "1": 1, "2": 5}}
    return {
        "csv": folder / "t.csv",
        "npy": folder / "t.npy",
        "npz": folder / "t.npz",
        "lists": save_json(folder / "lists.json", LOADS),
        "objects": save_json(folder / "objects.json", by_number),
        "stat": save_json(folder / "stat.json", {"rank": 0, "logical_count": [LOADS]}),
        "per_pass": save_json(folder / "per_pass.json", per_pass),
    }


@pytest.mark.parametrize("kind", ["csv", "npy", "npz", "lists", "objects", "stat", "per_pass"])
def test_load_matrices_are_read_but_make_no_trace(tmp_path: Path, kind: str) -> None:
    path = load_files(tmp_path)[kind]
    loads = read_load_matrix(path)
    assert loads.dtype == np.int64
    assert loads.tolist() == LOADS
    with pytest.raises(TraceError, match=r"a load matrix of 2 layers and 3 experts \(14 selections\).* no trace"):
        import_trace([path], tmp_path / "out", ImportOptions(), format="eplb")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([[1, 2], [3]], "is ragged"),
        ([1, 2], "shape (2,)"),
        ([[0.5, 1]], "load of layer 0, expert 0 is 0.5; loads are counts"),
        ([[1, -1]], "load of layer 0, expert 1 is -1"),
        ([[0, 0]], "all are 0"),
        ([["a"]], "should hold numbers"),
        ("text", "should be a load matrix as JSON"),
        ({"0": [1, 2]}, "'0' is no layer"),
        ({"0": {"99999": 1}}, "experts go from 99999"),
        ({"records": [], "last_physical_to_logical_map": None}, "last_physical_to_logical_map"),
        ({"records": [{}], "last_physical_to_logical_map": [[0]]}, "record 0: global_physical_count"),
    ],
)
def test_faulty_load_matrices_are_refused(tmp_path: Path, content: object, reason: str) -> None:
    path = save_json(tmp_path / "t.json", content)
    with pytest.raises(TraceError) as caught:
        read_load_matrix(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)


def test_formats_are_told_apart(tmp_path: Path) -> None:
    files = {
        "vllm": save_json(tmp_path / "v.json", {"choices": [{"routed_experts": ANSWER}]}),
        "sglang": save_json(tmp_path / "s.json", {"meta_info": {"routed_experts": as_int32(ANSWER)}}),
        "sglang-recorder": save_json(tmp_path / "r.json", {"records": [recorder_pass([0], np.array(ANSWER), [1])]}),
        "moe-policylang": save_lines(
            tmp_path / "p.jsonl", {"model_name": "", "num_layers": 1, "num_experts": 1, "top_k": 1}
        ),
        "moe-cache-lab": save_lines(tmp_path / "c.jsonl", *cache_lab(1)),
        "jsonl": save_lines(tmp_path / "t.jsonl", {"expert_ids": ANSWER}),
        "eplb": save_json(tmp_path / "e.json", LOADS),
        "npz": tmp_path / "t.npz",
        "llama-cpp": tmp_path / "l.csv",
        "csv": tmp_path / "t.csv",
    }
    (tmp_path / "l.csv").write_text(LLAMA_CPP)
    (tmp_path / "t.csv").write_text("token,layer,expert_0\n0,0,0\n")
    assert {name: detect_format(path) for name, path in files.items()} == {name: name for name in files}
    assert files.keys() == FORMATS.keys()
    with pytest.raises(TraceError, match="choose of npz, jsonl"):
        detect_format(save_json(tmp_path / "x.json", {"anything": 1}))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_are_refused_with_the_way_to_convert_them(tmp_path: Path, protocol: int) -> None:
    plain, torch_file = tmp_path / "dump.pkl", tmp_path / "dump.pt"
    plain.write_bytes(pickle.dumps({"records": []}, protocol=protocol))
    with zipfile.ZipFile(torch_file, "w") as archive:
        archive.writestr("dump/data.pkl", b"")
    for path in (plain, torch_file):
        for read in (lambda path: import_trace([path], tmp_path / "out", ImportOptions()), read_load_matrix):
            with pytest.raises(TraceError, match=f"{path.name}: is a pickle.*weights_only=True.*dump.json"):
                read(path)


FLAT = {"num_layers": 2, "top_k": 2}
RESPONSE = {"choices": [{"routed_experts": as_int32(WHOLE)}]}


@pytest.mark.parametrize(
    ("format", "content", "options", "reason"),
    [
        ("vllm", [1], {}, "response 0 should be a JSON object"),
        ("vllm", {"choices": 1}, {}, "choices should be a list"),
        ("vllm", {"choices": [{}]}, {}, "routed_experts is missing; was the server started with"),
        ("vllm", {"choices": []}, {}, "holds no routed experts"),
        ("vllm", RESPONSE, {}, "say its shape with --num-layers and --top-k"),
        ("vllm", RESPONSE, {"num_layers": 5, "top_k": 2}, "12 ids, which is no multiple of 5 layers x 2"),
        ("vllm", RESPONSE, {"fields": {"expert_ids": "x"}}, "--map is for npz"),
        ("vllm", {"choices": [{"routed_experts": "@"}]}, {}, "is not base64: '@'"),
        ("vllm", {"choices": [{"routed_experts": 7}]}, {}, "is '7'; it should be lists of numbers or base64"),
        ("vllm", {"choices": [{"routed_experts": "AAAA"}]}, FLAT, "3 bytes, which is no whole number of int32"),
        ("vllm", {"choices": [{"routed_experts": [[1]]}]}, {}, "routing of request 0 has the shape (1, 1)"),
        ("vllm", {"routed_experts": ANSWER, "prompt_routed_experts": [[[1, 2]]]}, {}, "(1, 2, 2), that of the prompt"),
        ("vllm", {"routed_experts": as_object(ANSWER) | {"shape": [9]}}, {}, "4 ids, which do not make the shape [9]"),
        ("vllm", {"routed_experts": as_object(ANSWER) | {"dtype": "object"}}, {}, "dtype 'object'"),
        ("vllm", {"routed_experts": WHOLE, "usage": usage(9, 9)}, {}, "3 rows, but usage 9 prompt and 9 completion"),
        ("vllm", [{"routed_experts": WHOLE}, {"routed_experts": [[[1]]]}], {}, "like that of request 0, (3, 2, 2)"),
        ("vllm", {"routed_experts": WHOLE}, {}, "does not say which tokens are the prompt"),
        ("sglang", {"meta_info": {}}, FLAT, "did the request ask for return_routed_experts"),
        ("sglang", RESPONSE | {"usage": usage(1, 1)}, FLAT, "3 rows, more than 1 prompt and 1 completion"),
        ("sglang-recorder", {"logical_count": []}, {}, "mode stat, which counts and keeps no tokens"),
        ("sglang-recorder", {"records": [{"global_physical_count": []}]}, {}, "record 0 has no topk_ids_of_layer"),
        ("sglang-recorder", [], {}, "has no records"),
        (
            "sglang-recorder",
            {"records": [recorder_pass([5], np.array(ANSWER), None)]},
            {},
            "record 0: no request stands at position 5; the recording should begin before",
        ),
        (
            "sglang-recorder",
            {"records": [recorder_pass([0, 2], np.array(PROMPT), [2])]},
            {},
            "record 0: positions of a request are not consecutive",
        ),
        (
            "sglang-recorder",
            {"records": [recorder_pass([0, 1], np.array(PROMPT), [3])]},
            {},
            "extend_seq_lens are [3], but there are 2 tokens",
        ),
    ],
)  # fmt: skip
def test_faulty_engine_output_is_refused(
    tmp_path: Path, format: str, content: object, options: dict[str, Any], reason: str
) -> None:
    path = save_json(tmp_path / "t.json", content)
    with pytest.raises(TraceError) as caught:
        import_trace([path], tmp_path / "out", ImportOptions(num_experts=4, **options), format=format)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("format", "content", "reason"),
    [
        ("llama-cpp", "", "holds no routing"),
        ("llama-cpp", "layer,expert\n", "line 1: layer is 'layer'"),
        ("llama-cpp", "1,2,3\n", "line 1 should be layer,expert"),
        ("llama-cpp", "1,0\n1,1\n2,0\n2,1\n1,0\n1,1\n1,2\n2,0\n2,1\n", "no multiple of top-k 2"),
        ("llama-cpp", "1,0\n1,1\n2,0\n", "no pass has rows of all layers 1 to 2"),
        ("llama-cpp", "1,0\n2,0\n1,0\n1,1\n2,0\n", "line 3: a pass lacks rows of some layers"),
        ("moe-policylang", '{"p": 0}\n', "line 1 should be a header"),
        ("moe-policylang", '{"model_name": "m"}\n{"p": 0}\n', "line 2: e and s should be lists"),
        ("moe-policylang", '{"model_name": "m"}\n{"l": 0, "t": 0, "e": [1], "ph": "?"}\n', "ph is '?'"),
        ("moe-cache-lab", '{"format": "moe-cache-lab.routing-jsonl", "format_version": 3}\n', "version 3"),
    ],
)
def test_faulty_tool_output_is_refused(tmp_path: Path, format: str, content: str, reason: str) -> None:
    path = tmp_path / "t.txt"
    path.write_text(content)
    with pytest.raises(TraceError) as caught:
        import_trace([path], tmp_path / "out", ImportOptions(num_experts=4), format=format)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"phase": "source"}, "phase 'source'; a trace holds a decoder's"),
        ({"routing_stage": "encoder"}, "stage 'encoder'"),
        ({"assignment_state": "unassigned"}, "is unassigned: a token without experts"),
        ({"record_type": "note"}, "should be a routing_selection"),
        ({"selected_experts": [1, 2, 3], "selected_probabilities": []}, "has 3 experts, the first row 2"),
        ({"phase": "decoder_generated"}, "a prompt token follows a generated one"),
    ],
)
def test_faulty_cache_lab_records_are_refused(tmp_path: Path, changed: dict[str, object], reason: str) -> None:
    lines: list[Any] = cache_lab(2)
    lines[1] = lines[1] | changed
    if changed.get("phase") == "decoder_generated":
        lines[3] = lines[3] | changed
    elif "selected_experts" in changed:
        lines[1], lines[2] = lines[2], lines[1]
    path = save_lines(tmp_path / "t.jsonl", *lines)
    with pytest.raises(TraceError) as caught:
        import_trace([path], tmp_path / "out", ImportOptions())
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)
