"""Where recorded sequences go: memory, a directory of shards, or one file that is joined from shards at the end."""

import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from traces.errors import TraceError
from traces.format import Sequences, ShardWriter, TraceMetadata, concatenate, open_trace, write_trace


class TraceOutput:
    """Take sequences as they end. Files are written on a thread: no interrupt of the main thread tears a shard.

    A path that ends in `.safetensors` becomes one file. Until `close`, its shards lie beside it in a directory, the
    same name with `.parts`, which is itself a valid trace of what has been written so far; `close` joins them.
    """

    def __init__(self, path: str | Path | None, metadata: Callable[[], TraceMetadata], *, shard_tokens: int) -> None:
        self.path = None if path is None else Path(path)
        self.metadata = metadata
        self.shard_tokens = shard_tokens
        self.kept: list[Sequences] = []
        self.num_sequences = 0
        self.num_tokens = 0
        self._writer: ShardWriter | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._written: Future[None] | None = None
        if self.path is not None:
            self.check_free(self.path)

    def append(self, sequences: Sequences) -> None:
        """Add whole sequences. Raises TraceError if an earlier shard could not be written."""
        self.num_sequences += len(sequences.prompt_tokens)
        self.num_tokens += len(sequences.expert_ids)
        if self.path is None:
            self.kept.append(sequences)
            return
        if self._writer is None:
            self._writer = ShardWriter(_shard_directory(self.path), self.metadata(), shard_tokens=self.shard_tokens)
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="trace-writer")
        self._wait()
        assert self._thread is not None
        self._written = self._thread.submit(self._writer.append, sequences)

    def close(self) -> None:
        """Write what is left; join the shards if one file was asked for. Raises TraceError."""
        if self._writer is None or self._thread is None:
            return
        thread, self._thread = self._thread, None
        try:
            self._wait()
            thread.submit(self._finish).result()
        finally:
            thread.shutdown()

    def sequences(self) -> Sequences:
        """Return what was recorded, where no path was given. Raises TraceError if that is nothing."""
        if self.path is not None:
            raise TraceError(self.path, "is where this recording goes; open it there, or record without a path")
        if not self.kept:
            raise TraceError("capture", "nothing was recorded; call the model inside the with block")
        self.kept = [concatenate(self.kept)]
        return self.kept[0]

    def _wait(self) -> None:
        if self._written is not None:
            written, self._written = self._written, None
            written.result()

    def _finish(self) -> None:
        assert self._writer is not None
        assert self.path is not None
        self._writer.flush()
        parts = _shard_directory(self.path)
        if parts == self.path:
            return
        shards = sorted(parts.glob("shard-*.safetensors"))
        if len(shards) == 1:
            shards[0].replace(self.path)
        else:
            write_trace(self.path, open_trace(parts).sequences(), self.metadata())
        shutil.rmtree(parts)

    @staticmethod
    def check_free(path: Path) -> None:
        """Raise TraceError unless a trace could be written to `path`."""
        if path.exists():
            raise TraceError(path, "exists already; a trace never changes once written: choose another name")
        if _shard_directory(path).exists():
            raise TraceError(
                _shard_directory(path),
                "is what an interrupted capture has written, a valid trace; rename it or remove it",
            )
        if not path.absolute().parent.is_dir():
            raise TraceError(path, f"cannot be written: there is no directory {path.absolute().parent}")


def _shard_directory(path: Path) -> Path:
    return path.with_name(f"{path.name}.parts") if path.suffix == ".safetensors" else path
