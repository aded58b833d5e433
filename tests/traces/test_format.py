"""The trace format: what is written is read, and what is faulty is refused with the file, the tensor and the reason."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.traces import make
from traces.errors import TraceError
from traces.format import (
    Sequences,
    ShardWriter,
    Trace,
    TraceMetadata,
    concatenate,
    expert_id_dtype,
    open_trace,
    write_trace,
)

Arrays = dict[str, Any]


def assert_equal(left: Sequences, right: Sequences) -> None:
    for tensor in fields(Sequences):
        wanted, found = getattr(right, tensor.name), getattr(left, tensor.name)
        if wanted is None:
            assert found is None, tensor.name
        else:
            assert found.dtype == wanted.dtype, tensor.name
            np.testing.assert_array_equal(found, wanted, err_msg=tensor.name)


@st.composite
def recordings(draw: st.DrawFn) -> tuple[Sequences, TraceMetadata]:
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    num_layers, top_k = draw(st.integers(1, 4)), draw(st.integers(1, 14))
    num_experts = draw(st.integers(top_k, 300))
    distances = draw(st.integers(0, 2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_tokens = sum(lengths)
    shape = {"num_tokens": num_tokens, "num_experts": num_experts, "top_k": top_k}
    dtype = expert_id_dtype(num_experts)
    lookahead = make.random_ids(rng, num_layers=num_layers * max(distances, 1), dtype=dtype, **shape)
    optional = draw(st.booleans())
    sequences = Sequences(
        expert_ids=make.random_ids(rng, num_layers=num_layers, dtype=dtype, **shape),
        sequence_start=np.cumsum([0, *lengths]).astype(np.int64),
        prompt_tokens=rng.integers(0, np.array(lengths) + 1).astype(np.int32),
        gate_weights=rng.random((num_tokens, num_layers, top_k)).astype(np.float16) if optional else None,
        context_start=rng.integers(0, 1000, len(lengths)).astype(np.int32) if optional else None,
        sequence_category=rng.integers(0, 2, len(lengths)).astype(np.uint16) if optional else None,
        lookahead_ids=lookahead.reshape(num_tokens, num_layers, distances, top_k) if distances else None,
        token_ids=rng.integers(0, 50000, num_tokens).astype(np.int32) if optional else None,
    )
    banks = tuple(rng.integers(0, 2, num_layers).tolist())
    metadata = TraceMetadata(
        model=draw(st.text(max_size=8).filter(str.isprintable)),
        num_experts=num_experts,
        banks=banks if len(set(banks)) == max(banks) + 1 else (),
        gate="sigmoid",
        categories=("law", "Übersetzung"),
        extra={"engine": "none"},
    )
    return sequences, metadata


@given(recordings())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, recording: tuple[Sequences, TraceMetadata]
) -> None:
    sequences, metadata = recording
    path = tmp_path_factory.mktemp("trace") / "t.safetensors"
    write_trace(path, sequences, metadata)
    trace = open_trace(path)
    trace.check()
    assert trace.metadata == metadata
    assert_equal(trace.sequences(), sequences)
    assert trace.num_bytes() == path.stat().st_size
    assert [trace.sequence_tokens(s).stop for s in range(trace.num_sequences)] == sequences.sequence_start[1:].tolist()


@given(recordings(), st.integers(1, 10))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_shards_are_the_same_trace_as_one_file(
    tmp_path_factory: pytest.TempPathFactory, recording: tuple[Sequences, TraceMetadata], shard_tokens: int
) -> None:
    sequences, metadata = recording
    folder = tmp_path_factory.mktemp("trace")
    with ShardWriter(folder / "shards", metadata, shard_tokens=shard_tokens) as writer:
        for at in range(len(sequences.prompt_tokens)):
            writer.append(cut(sequences, at))
    trace = open_trace(folder / "shards")
    trace.check()
    assert_equal(trace.sequences(), sequences)
    assert trace.metadata == metadata
    middle = trace.num_tokens // 2
    np.testing.assert_array_equal(trace.expert_ids(middle, trace.num_tokens), sequences.expert_ids[middle:])
    assert trace.expert_ids(middle, middle).shape == (0, *sequences.expert_ids.shape[1:])


def cut(sequences: Sequences, at: int) -> Sequences:
    """Return one sequence of several."""
    start, stop = sequences.sequence_start[at : at + 2]
    parts: Arrays = {}
    for name, tensor in sequences.tensors().items():
        per_token = len(tensor) == len(sequences.expert_ids) and name in make.PER_TOKEN
        parts[name] = tensor[start:stop] if per_token else tensor[at : at + 1]
    return Sequences(**parts | {"sequence_start": np.array([0, stop - start])})


def test_an_interrupted_recording_is_a_valid_shorter_trace(tmp_path: Path) -> None:
    """Killed between shards, the directory holds all shards that were written and nothing half done."""
    writer = ShardWriter(tmp_path / "t", make.METADATA, shard_tokens=8)
    for seed in range(3):
        writer.append(make.sequences(seed=seed))
    writer.append(make.sequences((2,), seed=3))  # gathered, not due
    del writer
    trace = open_trace(tmp_path / "t")
    trace.check()
    assert trace.num_tokens == 24
    assert_equal(trace.sequences(), concatenate([make.sequences(seed=seed) for seed in range(3)]))
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == [
        "index.json", "shard-00000.safetensors", "shard-00001.safetensors", "shard-00002.safetensors"
    ]  # fmt: skip


def test_an_exception_in_the_recording_keeps_what_has_gathered(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), ShardWriter(tmp_path / "t", make.METADATA) as writer:  # noqa: PT012
        writer.append(make.sequences())
        raise RuntimeError
    assert open_trace(tmp_path / "t").num_tokens == 8


def test_a_shard_that_was_written_but_not_listed_is_no_part_of_the_trace(tmp_path: Path) -> None:
    """The index is what counts: a crash between the shard and the index loses that shard alone."""
    with ShardWriter(tmp_path / "t", make.METADATA, shard_tokens=1) as writer:
        writer.append(make.sequences())
    make.write(tmp_path / "t" / "shard-00001.safetensors")
    assert open_trace(tmp_path / "t").num_tokens == 8


def test_a_faulty_sequence_is_refused_once_and_earlier_shards_stay(tmp_path: Path) -> None:
    bad = replace(make.sequences(), expert_ids=np.full((8, 2, 2), 3, np.uint8))
    with ShardWriter(tmp_path / "t", make.METADATA, shard_tokens=8) as writer:
        writer.append(make.sequences())
        with pytest.raises(TraceError, match="names an expert twice"):
            writer.append(bad)
    assert open_trace(tmp_path / "t").num_tokens == 8


@pytest.mark.parametrize("other", [{"num_layers": 3}, {"top_k": 1}, {"weights": False}])
def test_sequences_of_another_shape_cannot_follow(tmp_path: Path, other: Arrays) -> None:
    changed = make.sequences(**{name: value for name, value in other.items() if name != "weights"})
    if "weights" in other:
        changed = replace(changed, gate_weights=None)
    with ShardWriter(tmp_path / "t", make.METADATA) as writer:
        writer.append(make.sequences())
        with pytest.raises(TraceError, match="cannot follow"):
            writer.append(changed)
    assert open_trace(tmp_path / "t").num_tokens == 8


def test_concatenate_drops_no_tensor() -> None:
    with pytest.raises(ValueError, match="gate_weights"):
        concatenate([make.sequences(), replace(make.sequences(), gate_weights=None)])


def test_banks_shared_between_layers(tmp_path: Path) -> None:
    metadata = replace(make.METADATA, banks=(0, 1, 0, 1))
    trace = open_trace(make.write(tmp_path / "t.safetensors", metadata=metadata, num_layers=4))
    assert trace.banks == (0, 1, 0, 1)
    assert trace.num_banks == 2
    own = open_trace(make.write(tmp_path / "own.safetensors", num_layers=4))
    assert own.banks == (0, 1, 2, 3)
    assert own.num_banks == 4


def test_what_lookahead_holds_beyond_the_last_layer_is_not_looked_at(tmp_path: Path) -> None:
    """Distance i+1 from layer l exists while l+1+i < L; a faulty id within is found, one beyond is not."""
    arrays = make.tensors()
    arrays["lookahead_ids"][:, 1, 0] = 255
    open_trace(make.write_raw(tmp_path / "beyond.safetensors", arrays, make.header())).check()
    arrays["lookahead_ids"][6, 0, 0] = (4, 255)
    with pytest.raises(TraceError, match="lookahead_ids at distance 1: expert 255 at token 6, layer 0"):
        open_trace(make.write_raw(tmp_path / "within.safetensors", arrays, make.header())).check()


def spoil(name: str, index: int | tuple[int, ...], value: object) -> Callable[[Arrays, dict[str, str]], None]:
    def change(arrays: Arrays, header: dict[str, str]) -> None:
        del header
        arrays[name][index] = value

    return change


def put(
    name: str, array: NDArray[Any] | Callable[[NDArray[Any]], NDArray[Any]]
) -> Callable[[Arrays, dict[str, str]], None]:
    def change(arrays: Arrays, header: dict[str, str]) -> None:
        del header
        arrays[name] = array(arrays[name]) if callable(array) else array

    return change


def drop(name: str) -> Callable[[Arrays, dict[str, str]], None]:
    def change(arrays: Arrays, header: dict[str, str]) -> None:
        del header
        del arrays[name]

    return change


def meta(**changed: str | None) -> Callable[[Arrays, dict[str, str]], None]:
    def change(arrays: Arrays, header: dict[str, str]) -> None:
        del arrays
        for name, value in changed.items():
            if value is None:
                del header[name]
            else:
                header[name] = value

    return change


SHAPE = {"num_layers": 2, "num_experts": 8, "top_k": 2}
INT64 = np.iinfo(np.int64)

FAULTS: dict[str, tuple[Callable[[Arrays, dict[str, str]], None], str, str]] = {
    # what: (how the trace is spoiled, the tensor or key that the message names, the reason that it gives)
    "no version": (meta(format_version=None), "format_version", "is it a routing trace"),
    "later version": (meta(format_version="2"), "format_version", "'2'; this moesim reads '1'"),
    "id too large": (spoil("expert_ids", (4, 1, 0), 8), "expert_ids", "expert 8 at token 4, layer 1"),
    "id twice": (spoil("expert_ids", (5, 0), 3), "expert_ids", "[3, 3] at token 5, layer 0 names an expert twice"),
    "weight is NaN": (spoil("gate_weights", (7, 1, 1), np.nan), "gate_weights", "nan at token 7, layer 1, rank 1"),
    "weight is infinite": (spoil("gate_weights", (0, 0, 0), np.inf), "gate_weights", "inf at token 0, layer 0, rank 0"),
    "lookahead id too large": (spoil("lookahead_ids", (2, 0, 0, 1), 9), "lookahead_ids", "expert 9 at token 2"),
    "no expert_ids": (drop("expert_ids"), "expert_ids", "is missing"),
    "no sequence_start": (drop("sequence_start"), "sequence_start", "is missing"),
    "no prompt_tokens": (drop("prompt_tokens"), "prompt_tokens", "is missing"),
    "unknown tensor": (put("router_logits", np.zeros(3, np.float32)), "router_logits", "not part of the format"),
    "ids are int32": (put("expert_ids", lambda ids: ids.astype(np.int32)), "expert_ids", "dtype I32"),
    "weights are float32": (put("gate_weights", lambda w: w.astype(np.float32)), "gate_weights", "dtype F32"),
    "offsets are int32": (put("sequence_start", lambda s: s.astype(np.int32)), "sequence_start", "dtype I32"),
    "ids are flat": (put("expert_ids", lambda ids: ids.reshape(8, 4)), "expert_ids", "(8, 4)"),
    "no tokens": (put("expert_ids", np.zeros((0, 2, 2), np.uint8)), "expert_ids", "is empty"),
    "no layers": (put("expert_ids", np.zeros((8, 0, 2), np.uint8)), "expert_ids", "is empty"),
    "weights too short": (put("gate_weights", lambda w: w[:7]), "gate_weights", "(7, 2, 2)"),
    "token_ids too long": (put("token_ids", np.zeros(9, np.int32)), "token_ids", "(9,)"),
    "lookahead has no distance": (put("lookahead_ids", np.zeros((8, 2, 0, 2), np.uint8)), "lookahead_ids", "(8, 2, 0"),
    "lookahead is flat": (put("lookahead_ids", np.zeros((8, 2, 2), np.uint8)), "lookahead_ids", "(8, 2, 2)"),
    "offsets do not start at 0": (spoil("sequence_start", 0, 1), "sequence_start", "runs from 1 to 8"),
    "offsets end early": (spoil("sequence_start", 2, 7), "sequence_start", "runs from 0 to 7"),
    "offsets end late": (spoil("sequence_start", 2, 9), "sequence_start", "tokens 0 to 8"),
    "offsets fall": (put("sequence_start", np.array([0, 5, 4, 8])), "sequence_start", "entry 1 is 5, entry 2 is 4"),
    "empty sequence": (put("sequence_start", np.array([0, 3, 3, 8])), "sequence_start", "does not ascend"),
    "offsets wrap around": (
        put("sequence_start", np.array([0, INT64.max, INT64.min, -1, 8])),
        "sequence_start",
        "does not ascend",
    ),
    "no offsets": (put("sequence_start", np.array([0])), "sequence_start", "(1,)"),
    "offsets are a table": (put("sequence_start", np.array([[0, 3, 8]])), "sequence_start", "(1, 3)"),
    "prompt longer than sequence": (
        spoil("prompt_tokens", 0, 4),
        "prompt_tokens",
        "sequence 0 is 4; it should be 0 to 3",
    ),
    "prompt is negative": (spoil("prompt_tokens", 1, -1), "prompt_tokens", "sequence 1 is -1"),
    "prompts too few": (put("prompt_tokens", np.zeros(1, np.int32)), "prompt_tokens", "there are 2 sequences"),
    "context is negative": (spoil("context_start", 0, -5), "context_start", "-5; it should be 0 or more"),
    "category unknown": (spoil("sequence_category", 1, 2), "sequence_category", "sequence 1 is 2; it should be 0 to 1"),
    "categories without names": (meta(categories=None), "sequence_category", "names none"),
    "shape is missing": (meta(shape=None), "shape", "missing"),
    "shape is not JSON": (meta(shape="{num_layers: 2}"), "shape", "is not JSON: '{num_layers: 2}'"),
    "categories are not JSON": (meta(categories="law"), "categories", "is not JSON"),
    "categories are numbers": (meta(categories="[1]"), "categories", "list of names"),
    "layers disagree": (meta(shape=json.dumps(SHAPE | {"num_layers": 3})), "num_layers", "expert_ids has 2"),
    "top-k disagrees": (meta(shape=json.dumps(SHAPE | {"top_k": 4})), "top_k", "expert_ids has 2"),
    "experts fewer than top-k": (meta(shape=json.dumps(SHAPE | {"num_experts": 1})), "num_experts", "2 (top-k) to"),
    "experts are true": (meta(shape=json.dumps(SHAPE | {"num_experts": True})), "num_experts", "True"),
    "banks too few": (meta(banks="[0]"), "banks", "1 entries for 2 layers"),
    "banks skip a number": (meta(banks="[0, 2]"), "banks", "skips a number"),
    "bank is huge": (meta(banks=f"[0, {10**17}]"), "banks", "skips a number"),
    "bank is negative": (meta(banks="[-1, 0]"), "banks", "skips a number"),
    "banks are names": (meta(banks='["a", "b"]'), "banks", "whole numbers"),
    "banks are not JSON": (meta(banks="0, 1"), "banks", "is not JSON"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_faulty_trace_is_refused(tmp_path: Path, what: str) -> None:
    """The message names the file, the tensor or metadata key, and the reason."""
    change, names, reason = FAULTS[what]
    arrays, header = make.tensors(), make.header()
    change(arrays, header)
    path = make.write_raw(tmp_path / "bad.safetensors", arrays, header)
    with pytest.raises(TraceError) as caught:
        open_trace(path).check()
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert names in message
    assert reason in message


def test_the_trace_that_the_faults_start_from_is_valid(tmp_path: Path) -> None:
    trace = open_trace(make.write_raw(tmp_path / "good.safetensors", make.tensors(), make.header()))
    trace.check()
    assert trace.lookahead_distances == 1
    assert trace.sequences().token_ids is not None


@pytest.mark.parametrize("kept", [0, 5, 8, 100, 0.5, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: float) -> None:
    path = make.write(tmp_path / "t.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept if isinstance(kept, int) else kept * len(whole))])
    with pytest.raises(TraceError, match=r"t\.safetensors: is not a whole safetensors file"):
        open_trace(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"gone\.safetensors: no such file"):
        open_trace(tmp_path / "gone.safetensors")


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        (None, "is a directory without index.json"),
        ("{", "should be JSON"),
        ("\udcff", "should be JSON"),
        ("[]", "should be JSON"),
        ('{"format_version": "1", "shards": "shard"}', "should be JSON"),
        ('{"format_version": "1"}', "should be JSON"),
        ('{"format_version": "9", "shards": ["good.safetensors"]}', "format_version is '9'"),
        ('{"format_version": "1", "shards": []}', "lists no shards"),
        ('{"format_version": "1", "shards": ["../good.safetensors"]}', "shard '../good.safetensors' is not a plain"),
        ('{"format_version": "1", "shards": ["/etc/passwd"]}', "shard '/etc/passwd' is not a plain"),
        ('{"format_version": "1", "shards": [".."]}', "shard '..' is not a plain"),
        ('{"format_version": "1", "shards": ["a\\u0000"]}', "is not a plain"),
        ('{"format_version": "1", "shards": [7]}', "shard 7 is not a plain"),
        ('{"format_version": "1", "shards": ["good.safetensors", "good.safetensors"]}', "is listed twice"),
        ('{"format_version": "1", "shards": ["good.safetensors", "gone.safetensors"]}', "gone.safetensors: no such"),
        ('{"format_version": "1", "shards": ["good.safetensors", "other.safetensors"]}', "num_layers differs"),
    ],
)
def test_a_faulty_index_is_refused(tmp_path: Path, index: str | None, reason: str) -> None:
    make.write(tmp_path / "good.safetensors")
    make.write(tmp_path / "other.safetensors", num_layers=3)
    if index is not None:
        (tmp_path / "index.json").write_bytes(index.encode(errors="surrogateescape"))
    with pytest.raises(TraceError) as caught:
        open_trace(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"num_layers": 3}, "2 MoE layers but the model 3"),
        ({"num_experts": 9}, "8 experts but the model 9"),
        ({"top_k": 4, "num_layers": 1}, "2 MoE layers but the model 1, 2 top-k but the model 4"),
    ],
)
def test_another_model_is_refused(tmp_path: Path, changed: dict[str, int], reason: str) -> None:
    trace = open_trace(make.write(tmp_path / "t.safetensors"))
    trace.require_model(model="tiny", **SHAPE)
    with pytest.raises(TraceError) as caught:
        trace.require_model(model="huge", **SHAPE | changed)
    assert str(caught.value).startswith(str(tmp_path / "t.safetensors"))
    assert "recorded from tiny, not from huge" in str(caught.value)
    assert reason in str(caught.value)


def test_a_trace_is_never_overwritten(tmp_path: Path) -> None:
    path = make.write(tmp_path / "t.safetensors")
    before = path.read_bytes()
    with pytest.raises(TraceError, match="exists already"):
        make.write(path, seed=1)
    assert path.read_bytes() == before
    with pytest.raises(TraceError, match="exists already"):
        ShardWriter(tmp_path, make.METADATA)
    assert list(tmp_path.iterdir()) == [path]
    write_trace(path, make.sequences(seed=1), make.METADATA, overwrite=True)
    assert path.read_bytes() != before


def test_a_trace_that_appears_while_another_is_written_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.safetensors"
    monkeypatch.setattr(Trace, "check", lambda _: path.write_bytes(b"first"))
    with pytest.raises(TraceError, match="exists already"):
        make.write(path)
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """Neither a temporary file nor a trace; what was there before stays."""
    path = make.write(tmp_path / "t.safetensors")
    before = path.read_bytes()
    bad = replace(make.sequences(), expert_ids=np.full((8, 2, 2), 3, np.uint8))
    with pytest.raises(TraceError, match=r"t\.safetensors: not written: expert_ids: .* names an expert twice"):
        write_trace(path, bad, make.METADATA, overwrite=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(TraceError, match="cannot be written: No such file or directory"):
        make.write(tmp_path / "no" / "t.safetensors")
    with pytest.raises(TraceError, match=r"\(8, 4\); it should be \[tokens, layers, top_k\]"):
        write_trace(tmp_path / "u", replace(make.sequences(), expert_ids=np.zeros((8, 4), np.uint8)), make.METADATA)
    assert list(tmp_path.iterdir()) == [path]


def test_a_dtype_that_the_format_lacks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    for dtype in (np.bool_, np.int32):
        ids: Any = make.sequences().expert_ids.astype(dtype)
        wrong = replace(make.sequences(), expert_ids=ids)
        with pytest.raises(TraceError, match=r"t\.safetensors: not written: expert_ids has the dtype .*U8 or U16"):
            write_trace(path, wrong, make.METADATA)
    assert list(tmp_path.iterdir()) == []


def test_extra_metadata_cannot_pose_as_the_formats_own(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shape"):
        make.write(tmp_path / "t", metadata=replace(make.METADATA, extra={"shape": "{}"}))
    assert list(tmp_path.iterdir()) == []


def test_the_digest_depends_on_the_content_alone(tmp_path: Path) -> None:
    left, right = make.write(tmp_path / "a"), make.write(tmp_path / "b")
    assert open_trace(left).digest() == open_trace(right).digest()
    assert open_trace(make.write(tmp_path / "c", seed=1)).digest() != open_trace(left).digest()


def test_opening_a_large_trace_reads_its_header_alone(tmp_path: Path) -> None:
    """4 GB (a hole on the disk) open at once, with a few MB of memory; a row costs no more than its size."""
    path = make.write_sparse(tmp_path / "t.safetensors", num_tokens=1 << 23, num_layers=64, top_k=8)
    assert path.stat().st_size > 4e9
    open_trace(make.write(tmp_path / "warm"))  # imports
    process = psutil.Process(os.getpid())
    before = process.memory_info().rss
    started = time.perf_counter()
    trace = open_trace(path)
    opened_s = time.perf_counter() - started
    assert trace.num_tokens == 1 << 23
    with pytest.raises(TraceError, match="token 8000000, layer 0 names an expert twice"):
        trace.expert_ids(8_000_000, 8_001_000)  # a hole holds expert 0 eight times
    assert opened_s < 0.2  # a few ms; reading 4 GB takes seconds
    assert process.memory_info().rss - before < 50e6
