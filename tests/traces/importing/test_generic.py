"""npz, JSON lines and CSV become the trace that they describe, and faulty ones are refused with the place."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from simulator.cli import app
from tests.traces import make
from tests.traces.importing.conftest import Import
from traces.errors import TraceError
from traces.importing import ImportOptions, detect_format, import_trace

Write = Callable[[Path], Path]

IDS = np.array([[[1, 0], [2, 3]], [[0, 3], [3, 1]], [[2, 1], [0, 1]]])  # [3 tokens, 2 layers, 2]
WEIGHTS = np.array([[[0.75, 0.25], [0.5, 0.5]], [[0.625, 0.375], [0.75, 0.25]], [[0.5, 0.5], [0.5, 0.25]]])
START = np.array([0, 2, 3])


def save_npz(path: Path, **arrays: ArrayLike) -> Path:
    named: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez_compressed(path, **named)
    return path


def save_lines(path: Path, *lines: object) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def npz_file(path: Path) -> Path:
    return save_npz(
        path / "t.npz",
        expert_ids=IDS.astype(np.int64),
        gate_weights=WEIGHTS,
        sequence_start=START,
        prompt_tokens=np.array([1, 0]),
        context_start=np.array([0, 9]),
        sequence_category=np.array(["law", "code"]),
        num_experts=np.array(4),
        model=np.array("tiny"),
    )


def jsonl_by_sequence(path: Path) -> Path:
    return save_lines(
        path / "t.jsonl",
        {"num_experts": 4, "model": "tiny"},
        *(
            {
                "expert_ids": IDS[low:high].tolist(),
                "gate_weights": WEIGHTS[low:high].tolist(),
                "prompt_tokens": prompt,
                "context_start": context,
                "sequence_category": category,
            }
            for low, high, prompt, context, category in ((0, 2, 1, 0, "law"), (2, 3, 0, 9, "code"))
        ),
    )


def of_sequence(token: int) -> dict[str, object]:
    """Return what rows say of the sequence that a token of `IDS` belongs to."""
    if token < 2:
        return {"sequence": "a", "prompt_tokens": 1, "context_start": 0, "sequence_category": "law"}
    return {"sequence": "b", "prompt_tokens": 0, "context_start": 9, "sequence_category": "code"}


def jsonl_by_token(path: Path) -> Path:
    return save_lines(
        path / "t.jsonl",
        {"num_experts": 4, "model": "tiny"},
        *(of_sequence(t) | {"expert_ids": IDS[t].tolist(), "gate_weights": WEIGHTS[t].tolist()} for t in range(3)),
    )


def jsonl_by_layer(path: Path) -> Path:
    """Rows in no order: layer by layer, tokens backwards; layers are numbered 1 and 5."""
    return save_lines(
        path / "t.jsonl",
        {"num_experts": 4, "model": "tiny"},
        *(
            of_sequence(t)
            | {
                "token": t,
                "layer": (1, 5)[layer],
                "expert_ids": IDS[t, layer].tolist(),
                "gate_weights": WEIGHTS[t, layer].tolist(),
            }
            for layer in (1, 0)
            for t in (1, 0, 2)
        ),
    )


CSV_OF_SEQUENCE = "prompt_tokens,context_start,sequence_category"


def csv_by_layer(path: Path) -> Path:
    rows = [f"# by hand\nsequence,token,layer,expert_0,expert_1,weight_0,weight_1,{CSV_OF_SEQUENCE}"]
    for t in range(3):
        sequence, *rest = of_sequence(t).values()
        for layer in range(2):
            cells = [sequence, t, layer, *IDS[t, layer], *WEIGHTS[t, layer], *rest]
            rows.append(",".join(map(str, cells)))
    (path / "t.csv").write_text("\n".join(rows) + "\n")
    return path / "t.csv"


def csv_by_rank(path: Path) -> Path:
    rows = [f"sequence,token,layer,rank,expert,weight,{CSV_OF_SEQUENCE}"]
    for t in range(3):
        sequence, *rest = of_sequence(t).values()
        for layer in range(2):
            for rank in (1, 0):
                cells = [sequence, t, layer, rank, IDS[t, layer, rank], WEIGHTS[t, layer, rank], *rest]
                rows.append(",".join(map(str, cells)))
    (path / "t.csv").write_text("\n".join(rows) + "\n")
    return path / "t.csv"


FILES = [npz_file, jsonl_by_sequence, jsonl_by_token, jsonl_by_layer, csv_by_layer, csv_by_rank]


@pytest.mark.parametrize("write", FILES)
def test_every_kind_of_file_gives_the_same_trace(tmp_path: Path, run_import: Import, write: Write) -> None:
    trace = run_import(
        write(tmp_path), "--num-experts", 4, "--model", "tiny", "--source", "by hand", "--gate", "softmax"
    )
    sequences = trace.sequences()
    np.testing.assert_array_equal(sequences.expert_ids, IDS)
    assert sequences.expert_ids.dtype == np.uint8
    assert sequences.gate_weights is not None
    np.testing.assert_array_equal(sequences.gate_weights, WEIGHTS)
    assert sequences.sequence_start.tolist() == [0, 2, 3]
    assert sequences.prompt_tokens.tolist() == [1, 0]
    assert trace.context_start.tolist() == [0, 9]
    assert trace.metadata.categories == ("law", "code")
    assert trace.sequence_category is not None
    assert trace.sequence_category.tolist() == [0, 1]
    assert (trace.metadata.model, trace.num_experts) == ("tiny", 4)
    assert (trace.metadata.source, trace.metadata.gate, trace.metadata.licence) == ("by hand", "softmax", "unknown")


def test_layers_are_numbered_anew_and_the_files_numbers_kept(tmp_path: Path, run_import: Import) -> None:
    assert run_import(jsonl_by_layer(tmp_path)).metadata.extra["source_layers"] == "1,5"


@pytest.mark.parametrize("write", FILES)
def test_a_layer_can_be_left_out(tmp_path: Path, run_import: Import, write: Write) -> None:
    layer = 5 if write is jsonl_by_layer else 1
    trace = run_import(write(tmp_path), "--num-experts", 4, "--skip-layer", layer)
    np.testing.assert_array_equal(trace.expert_ids(0, 3), IDS[:, :1])
    np.testing.assert_array_equal(trace.gate_weights(0, 3), WEIGHTS[:, :1])


def test_files_are_joined_in_order(tmp_path: Path, run_import: Import) -> None:
    first = save_npz(tmp_path / "a.npz", expert_ids=IDS, sequence_category=np.array(["law"]))
    second = save_npz(tmp_path / "b.npz", expert_ids=IDS[:1], sequence_category=np.array(["code"]))
    trace = run_import(second, first, "--num-experts", 4, "--prompt-tokens", "none")
    np.testing.assert_array_equal(trace.expert_ids(0, 4), np.concatenate([IDS[:1], IDS]))
    assert trace.sequence_start.tolist() == [0, 1, 4]
    assert trace.metadata.categories == ("code", "law")


@pytest.mark.parametrize(("asked", "prompts"), [("none", [0, 0]), ("all", [2, 1]), ("1", [1, 1]), ("lens", [2, 0])])
def test_how_many_tokens_are_prompt(tmp_path: Path, run_import: Import, asked: str, prompts: list[int]) -> None:
    path = save_npz(tmp_path / "t.npz", expert_ids=IDS, sequence_start=START, lens=np.array([2, 0]))
    assert run_import(path, "--num-experts", 4, "--prompt-tokens", asked).prompt_tokens.tolist() == prompts


def test_fields_by_other_names(tmp_path: Path, run_import: Import) -> None:
    path = save_npz(tmp_path / "t.npz", routed=IDS, offsets=START, ids=np.array([7, 8, 9]))
    maps = ["expert_ids=routed", "sequence_start=offsets", "token_ids=ids"]
    arguments = [argument for pair in maps for argument in ("--map", pair)]
    trace = run_import(path, *arguments, "--num-experts", 300, "--prompt-tokens", "none")
    assert trace.expert_ids(0, 3).dtype == np.uint16
    assert trace.num_sequences == 2
    tokens = trace.sequences().token_ids
    assert tokens is not None
    assert tokens.tolist() == [7, 8, 9]
    lines = save_lines(tmp_path / "t.jsonl", {"e": [[1, 0], [2, 3]], "who": 4}, {"e": [[1, 2], [2, 0]], "who": 4})
    trace = run_import(
        lines, "--map", "expert_ids=e", "--map", "sequence=who", "--num-experts", 4, "--prompt-tokens", "1", out="l"
    )
    assert (trace.num_tokens, trace.num_sequences) == (2, 1)
    table = tmp_path / "t.csv"
    table.write_text("turn,step,layer,slot,expert\n0,0,0,0,1\n0,0,0,1,3\n0,1,0,0,0\n0,1,0,1,2\n")
    pairs = ("--map", "sequence=turn", "--map", "token=step", "--map", "rank=slot")
    trace = run_import(table, *pairs, "--num-experts", 4, "--prompt-tokens", "none", out="c")
    assert trace.expert_ids(0, 2).tolist() == [[[1, 3]], [[0, 2]]]


def test_token_ids_stay_behind_unless_asked_for(
    tmp_path: Path, run_import: Import, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not imported is said, on stderr and in the trace."""
    path = save_npz(tmp_path / "t.npz", expert_ids=IDS, token_ids=np.array([7, 8, 9]), loss=np.zeros(3))
    trace = run_import(path, "--num-experts", 4, "--prompt-tokens", "none")
    assert trace.sequences().token_ids is None
    notes = trace.metadata.extra["import_notes"].splitlines()
    assert notes == [
        "array not imported: loss",
        "array not imported: token_ids",
        "no sequence_start: all tokens are one sequence",
    ]
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [f"note: {note}" for note in notes]
    assert "3 tokens in 1 sequences" in captured.out


def test_ranks_are_put_by_descending_weight(tmp_path: Path, run_import: Import) -> None:
    ids, weights = np.array([[[1, 2, 0]], [[3, 2, 1]]]), np.array([[[0.25, 0.5, 0.25]], [[0.5, 0.25, 0.25]]])
    path = save_npz(tmp_path / "t.npz", expert_ids=ids, gate_weights=weights)
    trace = run_import(path, "--num-experts", 4, "--prompt-tokens", "none")
    assert trace.expert_ids(0, 2).tolist() == [[[2, 1, 0]], [[3, 2, 1]]]
    assert trace.gate_weights(0, 2)[0, 0].tolist() == [0.5, 0.25, 0.25]
    assert "1 of 2 top-k sets were not by descending weight" in trace.metadata.extra["import_notes"]


REAL = {
    "gpt-oss-20b_decode.npz": (
        "--num-experts 32 --prompt-tokens none --map context_start=prompt_len --map sequence_category=category",
        {"num_tokens": 63234, "num_layers": 24, "top_k": 4, "num_sequences": 205},
    ),
    "deepseek-v2-lite_prefill.npz": (
        "--num-experts 64 --prompt-tokens all --map sequence_category=category",
        {"num_tokens": 24800, "num_layers": 26, "top_k": 6, "num_sequences": 200},
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_a_real_recording_imports_with_one_command(shared_data: Path, run_import: Import, name: str) -> None:
    """The trace holds exactly the arrays of the file."""
    command, shape = REAL[name]
    trace = run_import(shared_data / "traces" / name, "--model", "real", *command.split())
    assert {key: getattr(trace, key) for key in shape} == shape
    with np.load(shared_data / "traces" / name) as arrays:
        np.testing.assert_array_equal(trace.expert_ids(0, trace.num_tokens), arrays["expert_ids"])
        np.testing.assert_array_equal(trace.gate_weights(0, trace.num_tokens), arrays["gate_weights"])
        np.testing.assert_array_equal(trace.sequence_start, arrays["sequence_start"])
        assert trace.sequence_category is not None
        names = np.array(trace.metadata.categories)[trace.sequence_category]
        np.testing.assert_array_equal(names, arrays["category"])
        if "prompt_len" in arrays:
            np.testing.assert_array_equal(trace.context_start, arrays["prompt_len"])
            assert not trace.prompt_tokens.any()
        else:
            np.testing.assert_array_equal(trace.prompt_tokens, np.diff(arrays["sequence_start"]))
    assert "import_notes" not in trace.metadata.extra


OK: dict[str, Any] = {"num_experts": 4, "prompt_tokens": "none"}


@pytest.mark.parametrize(
    ("arrays", "options", "reasons"),
    [
        ({"ids": IDS}, {}, ["no array expert_ids", "ids", "--map expert_ids=NAME"]),
        ({"expert_ids": IDS}, {"num_experts": None}, ["the largest id is 3", "--num-experts"]),
        ({"expert_ids": IDS, "num_experts": np.array(5)}, {}, ["num_experts is said to be 5 and 4"]),
        ({"expert_ids": IDS, "num_experts": np.array([4, 4])}, {}, ["num_experts has the shape (2,)"]),
        ({"expert_ids": IDS}, {"num_experts": 1}, ["num_experts is 1; it should be 2 (top-k)"]),
        ({"expert_ids": IDS}, {"num_experts": 1 << 20}, ["num_experts is 1048576", "65536"]),
        ({"expert_ids": IDS}, {"prompt_tokens": None}, ["--prompt-tokens none (decode only), all"]),
        ({"expert_ids": IDS}, {"prompt_tokens": 9}, ["prompt_tokens of sequence 0 is 9; it should be 0 to 3"]),
        ({"expert_ids": IDS[0]}, {}, ["expert_ids has the shape (2, 2)"]),
        ({"expert_ids": IDS[:0]}, {}, ["is empty"]),
        ({"expert_ids": IDS - 1}, {}, ["expert -1 at token 0, layer 0", "ids go from 0 to 3"]),
        ({"expert_ids": IDS + 65536}, {}, ["expert 65537 at token 0"]),
        ({"expert_ids": IDS * 1.0}, {}, ["expert_ids has the dtype float64", "whole numbers"]),
        ({"expert_ids": np.zeros((3, 2, 2), int)}, {}, ["layer 0 holds expert 0 everywhere", "--skip-layer 0"]),
        ({"expert_ids": np.concatenate([IDS[:, :1] * 0 + 255, IDS], axis=1)}, {}, ["expert 255", "--skip-layer 0"]),
        ({"expert_ids": IDS}, {"skip_layers": frozenset([2])}, ["layers 0 to 1, so layer 2 cannot be skipped"]),
        ({"expert_ids": np.where(IDS == 3, 2, IDS)}, {}, ["not written: expert_ids", "names an expert twice"]),
        ({"expert_ids": IDS, "gate_weights": WEIGHTS[:2]}, {}, ["gate_weights has the shape (2, 2, 2)"]),
        ({"expert_ids": IDS, "gate_weights": WEIGHTS * np.nan}, {}, ["gate_weights: nan at token 0"]),
        ({"expert_ids": IDS, "gate_weights": WEIGHTS * 1e6}, {}, ["750000.0 at [0, 0, 0] does not fit float16"]),
        ({"expert_ids": IDS, "gate_weights": IDS}, {}, ["gate_weights has the dtype int64"]),
        ({"expert_ids": IDS, "sequence_start": START[1:]}, {}, ["sequence_start", "begin with 0"]),
        ({"expert_ids": IDS, "sequence_start": START * 2}, {}, ["goes up to 6, but there are 3 tokens"]),
        ({"expert_ids": IDS, "sequence_start": np.array([0, 2, 1, 3])}, {}, ["entry 1 is 2, entry 2 1"]),
        ({"expert_ids": IDS, "sequence_category": np.array(["a", "b"])}, {}, ["(2,), but there are 1 sequences"]),
        ({"expert_ids": IDS, "sequence_category": np.array([0.5])}, {}, ["dtype float64", "names"]),
        ({"expert_ids": IDS, "context_start": np.array([1 << 40])}, {}, ["context_start: 1099511627776 does not fit"]),
        ({"expert_ids": IDS, "context_start": np.array([[1]])}, {}, ["context_start has the shape (1, 1)"]),
        ({"expert_ids": IDS}, {"fields": {"context_start": "len"}}, ["--map context_start=len", "no such array"]),
        ({"expert_ids": IDS}, {"fields": {"experts": "len"}}, ["--map experts=...", "can be mapped to expert_ids"]),
        ({"expert_ids": IDS.astype(object)}, {}, ["expert_ids holds Python objects (pickle)"]),
        ({"expert_ids": IDS}, {"max_bytes": 95}, ["(3, 2, 2), 96 bytes, more than the 95", "--max-gib"]),
    ],
)  # fmt: skip
def test_a_faulty_npz_is_refused(
    tmp_path: Path, arrays: dict[str, Any], options: dict[str, Any], reasons: list[str]
) -> None:
    path, out = save_npz(tmp_path / "t.npz", **arrays), tmp_path / "out"
    with pytest.raises(TraceError) as caught:
        import_trace([path], out, ImportOptions(**OK | options))
    named = str(caught.value)
    assert named.startswith((str(path), str(out)))
    for reason in reasons:
        assert reason in named
    assert list(tmp_path.iterdir()) == [path]


def header_of(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (header_of((1 << 40, 64, 8)), "562949953421312 bytes, more than the"),
        (header_of((1 << 20, 64, 8)), "should hold 536870912 bytes after its header, not 0"),
        (header_of((3, 2, 2)) + b"1234", "should hold 12 bytes after its header, not 4"),
        (b"\x93NUMPY\x03\x00" + bytes(20), "not a numpy array: version (3, 0)"),
        (b"not an array", "not a numpy array"),
        (pickle.dumps([1]), "not a numpy array"),
    ],
)
def test_an_absurd_array_costs_nothing_to_refuse(tmp_path: Path, content: bytes, reason: str) -> None:
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        archive.writestr("expert_ids.npy", content)
    with pytest.raises(TraceError) as caught:
        import_trace([tmp_path / "t.npz"], tmp_path / "out", ImportOptions(**OK))
    assert reason in str(caught.value)


@pytest.mark.parametrize("kept", [0, 30, 0.5, 0.98])
def test_a_truncated_npz_is_refused(tmp_path: Path, kept: float) -> None:
    path = npz_file(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept if isinstance(kept, int) else kept * len(whole))])
    with pytest.raises(TraceError, match=r"t\.npz: is not a whole npz file"):
        import_trace([path], tmp_path / "out", ImportOptions(**OK))


ROW = {"token": 0, "layer": 0, "expert_ids": [0, 1]}


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], "no line has a field expert_ids"),
        ([{"ids": [1]}], "its first line has ids: name it with --map expert_ids=FIELD"),
        ([{"num_experts": 4}, {"ids": [1]}], "line 2 has no field expert_ids, but ids"),
        ([{"num_experts": "many"}, ROW], "num_experts is 'many'; it should be a whole number"),
        ([[1]], "line 1 should be a JSON object"),
        ([{"expert_ids": 1}], "line 1: expert_ids is a list of depth 0"),
        ([{"expert_ids": []}], "line 1: expert_ids is a list of depth 0"),
        ([{"expert_ids": [[[[1]]]]}], "line 1: expert_ids is a list of depth 4"),
        ([ROW, {"expert_ids": [[0, 1]]}], "line 2: expert_ids is a list of depth 2; it should be 1, as on the lines"),
        ([{"expert_ids": [[[0, 1]], [[0]]]}], "line 1: expert_ids is ragged"),
        ([{"expert_ids": [[[0, "1"]]]}], "line 1: expert_ids should hold whole numbers"),
        ([{"expert_ids": [[[0, 1.5]]]}], "line 1: expert_ids should hold whole numbers"),
        ([{"expert_ids": [[[0, None]]]}], "line 1: expert_ids should hold whole numbers"),
        ([{"expert_ids": [[[0, 1]]]}, {"expert_ids": [[[0, 1, 2]]]}], "line 2: expert_ids has the shape (1, 1, 3)"),
        ([{"expert_ids": [[[0, 1]]], "gate_weights": [[[1.0]]]}], "shape (1, 1, 2)"),
        ([{"token": 0, "expert_ids": [0, 1]}], "line 1 has no field layer, but token, expert_ids"),
        ([{"layer": 0, "expert_ids": [0, 1]}], "line 1 has no field token"),
        ([ROW, ROW | {"layer": 1, "expert_ids": [0]}], "line 2 has 1 experts, the first row 2"),
        ([ROW, ROW], "lines 1 and 2 both hold sequence None, token 0, layer 0"),
        ([ROW, ROW | {"layer": 7}, ROW | {"token": 1}], "sequence None, token 1 has no row of layer 7"),
        ([ROW, ROW | {"token": 2}], "token 0 is followed by 2"),
        ([ROW | {"token": "x"}], "line 1: token is 'x'; it should be a whole number"),
        ([ROW | {"token": True}], "line 1: token is 'True'; it should be a whole number"),
        ([ROW | {"token": 1 << 70}], "line 1: token is '1180591620717411303424'"),
        ([ROW | {"expert_ids": [0, -1]}], "expert -1 at token 0, layer 0"),
        ([ROW | {"sequence": [1]}], "line 1: sequence is [1], not a name"),
        ([ROW | {"gate_weights": [0.5]}], "line 1 has 2 experts, but 1 weights"),
        ([ROW | {"gate_weights": [0.5, "much"]}], "weight is 'much'; it should be a number"),
        ([ROW | {"prompt_tokens": 1}, ROW | {"token": 1, "prompt_tokens": 2}], "line 2: prompt_tokens is 2, but was 1"),
        ([ROW | {"context_start": 1}, ROW | {"sequence": 1}], "sequence 1 (from 0) has no context_start"),
    ],
)
def test_faulty_json_lines_are_refused(tmp_path: Path, lines: list[object], reason: str) -> None:
    path = save_lines(tmp_path / "t.jsonl", *lines)
    with pytest.raises(TraceError) as caught:
        import_trace([path], tmp_path / "out", ImportOptions(**OK))
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"expert_ids": [[[0, 1]', "line 1 is not JSON"),
        (b'{"num_experts": 4}\n\n{"expert_ids": \xff}', "line 3 is not UTF-8 text"),
        (b"[" * 100_000, "line 1 is not JSON"),
        (b'{"expert_ids": ' + b"[" * 100_000, "line 1 is not JSON"),
    ],
)
def test_lines_that_are_not_json_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "t.jsonl").write_bytes(content)
    with pytest.raises(TraceError) as caught:
        import_trace([tmp_path / "t.jsonl"], tmp_path / "out", ImportOptions(**OK))
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("token,layer,expert_0\n", "holds no routing"),
        ("step,layer,expert_0\n0,0,1\n", "no column token, but step, layer, expert_0: name it with --map token=COLUMN"),
        ("token,layer\n0,0\n", "neither the columns rank and expert nor expert_0"),
        ("token,layer,expert\n0,0,1\n", "neither the columns rank and expert"),
        ("token,token,layer,expert_0\n", "names a column twice"),
        ("token,layer,expert_0\n0,0\n", "line 2 has 2 fields, the header 3"),
        ('token,layer,expert_0\n0,0,"1\n', "line 2 is not CSV"),
        ("token,layer,expert_0\n0,0,x\n", "line 2: expert is 'x'; it should be a whole number"),
        ("token,layer,expert_0\n0,0,9\n", "expert 9 at token 0, layer 0"),
        ("token,layer,expert_0,expert_1,weight_0\n0,0,1,2,1\n", "has 2 columns of experts, but 1 of weights"),
        ("token,layer,rank,expert\n0,0,0,1\n0,0,2,3\n", "token 0, layer 0 has the ranks [0, 2]; it should have 0 to 1"),
        ("token,layer,rank,expert\n0,0,0,1\n0,0,0,3\n", "lines 2 and 3 both hold rank 0 of sequence None, token 0"),
        (
            "token,layer,rank,expert\n0,0,0,1\n1,0,0,1\n1,0,1,2\n",
            "token 0, layer 0 has the ranks [0]; it should have 0 to 1",
        ),
        (
            "sequence,token,layer,expert_0,prompt_tokens\na,0,0,1,1\na,1,0,1,0\n",
            "line 3: prompt_tokens of",
        ),
    ],
)
def test_a_faulty_table_is_refused(tmp_path: Path, table: str, reason: str) -> None:
    (tmp_path / "t.csv").write_text(table)
    with pytest.raises(TraceError) as caught:
        import_trace([tmp_path / "t.csv"], tmp_path / "out", ImportOptions(**OK))
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--map", "context_start"], "--map: 'context_start' should be TENSOR=FIELD"),
        (["--map", "=x"], "--map: '=x' should be TENSOR=FIELD"),
        (["--map", "a=x", "--map", "a=y"], "--map: maps a twice, to x and to y"),
        (["--map", "prompt_tokens=x", "--prompt-tokens", "y"], "--prompt-tokens: names y, but --map x"),
        (["--max-gib", "0"], "--max-gib: 0.0 should be more than 0"),
        (["--format", "parquet"], "there is no format 'parquet'; choose of npz, jsonl, csv"),
    ],
)
def test_faulty_options_are_refused(tmp_path: Path, arguments: list[str], reason: str) -> None:
    command = ["trace", "import", str(npz_file(tmp_path)), "--out", str(tmp_path / "out"), *arguments]
    with pytest.raises(TraceError) as caught:
        app(command, result_action="return_value", exit_on_error=False)
    assert reason in str(caught.value)


def test_files_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    options = ImportOptions(num_experts=4, prompt_tokens="none")
    whole = save_npz(tmp_path / "a.npz", expert_ids=IDS)
    for name, reason, arrays in (
        ("b.npz", "layers and top-k of one trace agree", {"expert_ids": IDS[:, :1]}),
        ("c.npz", "gate_weights is in one file but not in the other", {"expert_ids": IDS, "gate_weights": WEIGHTS}),
    ):
        other = save_npz(tmp_path / name, **arrays)
        with pytest.raises(TraceError, match=reason):
            import_trace([whole, other], tmp_path / "out", options)


def test_a_trace_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    out = make.write(tmp_path / "out")
    before = out.read_bytes()
    options = ImportOptions(num_experts=4)
    with pytest.raises(TraceError, match="exists already"):
        import_trace([npz_file(tmp_path)], out, options)
    assert out.read_bytes() == before
    assert import_trace([npz_file(tmp_path)], out, options, overwrite=True).trace.num_tokens == 3


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for name in ("gone.npz", "gone.jsonl", "gone.csv"):
        with pytest.raises(TraceError, match=f"{name}: cannot be read: No such file"):
            import_trace([tmp_path / name], tmp_path / "out", ImportOptions(**OK))
    with pytest.raises(TraceError, match="no file to import"):
        import_trace([], tmp_path / "out", ImportOptions())
    with pytest.raises(TraceError, match="cannot tell its format"):
        detect_format(Path(__file__))


def test_progress_is_told_of_long_files(tmp_path: Path) -> None:
    lines = [ROW | {"token": token} for token in range(10_000)]
    path = save_lines(tmp_path / "t.jsonl", *lines)
    told: list[tuple[int, int]] = []
    options = ImportOptions(**OK, progress=lambda done, total: told.append((done, total)))
    import_trace([path], tmp_path / "out", options)
    size = path.stat().st_size
    assert [total for _, total in told] == [size, size]
    assert 0 < told[0][0] < told[1][0] < size
