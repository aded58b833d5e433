"""The timeline: every kernel, transfer, stall and decision, in the Chrome trace format that Perfetto's UI opens.

One track per serial resource (GPU stream, H2D link, each CPU worker that works), one for stalls and one for decisions;
flows lead from the end of a transfer to the kernel that uses it; counters show the link's queue and the slots that are
taken. Events are streamed to a gzip file under a temporary name, which `close` renames into place.

Source: "Trace Event Format", Google, the JSON object form with phases X (slice), i (instant), s/f (flow), C (counter)
and M (names). Times in it are microseconds; they are written with three decimals, so nanoseconds are kept.
"""

import gzip
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from functools import cache
from pathlib import Path

from hardware_profiles.errors import InputError
from simulator.resources.transfers import Transfer
from simulator.workload.step import Step

GPU_STREAM, H2D_LINK, STALLS, DECISIONS, CPU_WORKERS = 1, 2, 3, 4, 5
D2H_LINK, NVME = 1000, 1001  # there only where they are used; workers of the CPU are numbered from CPU_WORKERS on
_TRACKS = {GPU_STREAM: "GPU stream", H2D_LINK: "H2D link", STALLS: "GPU stalls", DECISIONS: "Decisions"}
_EVENTS_PER_WRITE = 1000  # compressing each by itself takes as long as all the rest


_quote = cache(json.dumps)  # names are few
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def microseconds(time_ns: int) -> str:
    """Write nanoseconds as microseconds, exactly."""
    return f"{time_ns // 1000}.{time_ns % 1000:03d}"


class Timeline:
    """Write the events of one run. Use as a context manager; an exception leaves nothing at `path`.

    `num_keys` is where keys of low-precision copies begin. `process` and `process_name` set its tracks apart from those of
    another run in the same view. Raises InputError if the disk refuses what is written.
    """

    def __init__(
        self,
        path: Path,
        *,
        num_experts: int,
        num_keys: int | None = None,
        process_name: str = "moesim",
        process: int = 1,
    ) -> None:
        self._path = path
        self._process = process
        self._num_experts = num_experts
        self._num_keys = num_keys if num_keys is not None else 1 << 62
        descriptor, self._temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        # No file name and no time in the header: the same run gives the same bytes.
        self._binary = os.fdopen(descriptor, "wb")
        self._gzip = gzip.GzipFile(filename="", mode="wb", fileobj=self._binary, compresslevel=5, mtime=0)
        self._pending: list[str] = []
        self._is_first = True
        self._num_flows = 0
        self._flow_of_key: dict[int, int] = {}
        self._workers: set[int] = set()
        self._has_d2h_track = self._has_nvme_track = False
        self._write_raw('{"displayTimeUnit":"ns","traceEvents":[')
        self._name_tracks(process_name)

    def __enter__(self) -> "Timeline":
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        temporary = Path(self._temporary)
        try:
            if kind is None:
                self._write_raw("]}\n")
                self._flush()
                with self._disk_errors():
                    self._gzip.close()
                    self._binary.close()
                    temporary.chmod(0o644)
                    temporary.replace(self._path)
        finally:
            for file in (self._gzip, self._binary):
                with suppress(OSError):
                    file.close()
            temporary.unlink(missing_ok=True)

    def beside(self, *, process: int, process_name: str) -> "Timeline":
        """Return a timeline of another GPU in the same file, with tracks of its own."""
        other = copy(self)  # what is pending, and the file, are the same
        other._process = process
        other._num_flows = process << 32  # flows are numbered over the whole file
        other._flow_of_key, other._workers = {}, set()
        other._name_tracks(process_name)
        return other

    def step_started(self, step: Step, now_ns: int) -> None:
        """Note the start of a step."""
        name = "prefill" if step.is_prefill else "decode"
        sequences = [request.sequence for request in step.requests]
        self._write("i", f"{name} step", DECISIONS, now_ns, {"tokens": len(step.tokens), "sequences": sequences})

    def non_expert(self, layer: int, start_ns: int, duration_ns: int) -> None:
        """Note a layer's non-expert work."""
        self._slice(GPU_STREAM, "non-expert", start_ns, duration_ns, {"layer": layer})

    def overhead(self, layer: int, start_ns: int, duration_ns: int) -> None:
        """Note what the runtime loses after a wait."""
        self._slice(GPU_STREAM, "after a wait", start_ns, duration_ns, {"layer": layer})

    def head(self, start_ns: int, duration_ns: int) -> None:
        """Note the step's own work after the last layer."""
        self._slice(GPU_STREAM, "head and sampling", start_ns, duration_ns, {})

    def gate(self, layer: int, keys: Sequence[int], hits: Sequence[int], missed: Sequence[int], now_ns: int) -> None:
        """Note a gate's result."""
        args = {
            "layer": layer,
            "experts": len(keys),
            "hits": [self._name(key) for key in hits],
            "misses": [self._name(key) for key in missed],
        }
        self._write("i", "gate", DECISIONS, now_ns, args)

    def load(self, now_ns: int, *, queued: int, occupied: int) -> None:
        """Note the link's queue and the slots that are taken."""
        self._write("C", "link queue", DECISIONS, now_ns, {"transfers": queued})
        self._write("C", "expert slots taken", DECISIONS, now_ns, {"experts": occupied})

    def experts(self, layer: int, keys: Sequence[int], start_ns: int, duration_ns: int) -> None:
        """Note an expert kernel, and end the flows of the transfers that it waited for."""
        names = [self._name(key) for key in keys]
        name = names[0] if len(names) == 1 else f"{len(names)} experts"
        self._slice(GPU_STREAM, name, start_ns, duration_ns, {"layer": layer, "experts": names})
        for key in keys:
            flow = self._flow_of_key.pop(key, None)
            if flow is not None:
                self._write("f", "arrival", GPU_STREAM, start_ns, {}, f',"id":{flow},"cat":"expert","bp":"e"')

    def prefetch_issued(self, key: int, now_ns: int) -> None:
        """Note a prefetch that has got a slot."""
        self._write("i", "prefetch", DECISIONS, now_ns, {"expert": self._name(key)})

    def transfer(self, transfer: Transfer, start_ns: int, end_ns: int) -> None:
        """Note a stretch of service on the link, and start the flow to the kernel that will use it."""
        cause = "prefetch" if transfer.is_prefetch else "demand fetch"
        args = {"expert": self._name(transfer.key), "demanded": transfer.is_demanded}
        self._slice(H2D_LINK, cause, start_ns, end_ns - start_ns, args)
        flow = self._flow_of_key.get(transfer.key)
        if flow is None:
            self._num_flows += 1
            self._flow_of_key[transfer.key] = self._num_flows
            self._write("s", "arrival", H2D_LINK, start_ns, {}, f',"id":{self._num_flows},"cat":"expert"')

    def write_back(self, transfer: Transfer, start_ns: int, end_ns: int) -> None:
        """Note the copy of an evicted expert back to the host."""
        if not self._has_d2h_track:
            self._has_d2h_track = True
            self._write("M", "thread_name", D2H_LINK, 0, {"name": "D2H link"})
            self._write("M", "thread_sort_index", D2H_LINK, 0, {"sort_index": H2D_LINK})
        self._slice(D2H_LINK, "write-back", start_ns, end_ns - start_ns, {"expert": self._name(transfer.key)})

    def read(self, read: Transfer, start_ns: int, end_ns: int) -> None:
        """Note a stretch of a read from NVMe into host memory."""
        if not self._has_nvme_track:
            self._has_nvme_track = True
            self._write("M", "thread_name", NVME, 0, {"name": "NVMe"})
            self._write("M", "thread_sort_index", NVME, 0, {"sort_index": H2D_LINK})
        args = {"expert": self._name(read.key), "demanded": read.is_demanded}
        self._slice(
            NVME, "read ahead of need" if read.is_prefetch else "demand read", start_ns, end_ns - start_ns, args
        )

    def evicted(self, key: int) -> None:
        """Forget the flow of an expert that was evicted before any kernel used it."""
        self._flow_of_key.pop(key, None)

    def stall(self, layer: int, transfer: Transfer, start_ns: int, duration_ns: int) -> None:
        """Note a time for which the GPU waited while the link, or NVMe, served `transfer`."""
        server = "NVMe" if transfer.is_read else "link"
        args = {"layer": layer, f"{server} serves": self._name(transfer.key)}
        self._slice(STALLS, "wait for NVMe" if transfer.is_read else "wait for the link", start_ns, duration_ns, args)

    def cpu_expert(self, layer: int, key: int, worker: int, start_ns: int, duration_ns: int) -> None:
        """Note an expert that a worker of the CPU computes."""
        track = CPU_WORKERS + worker
        if worker not in self._workers:
            self._workers.add(worker)
            self._write("M", "thread_name", track, 0, {"name": f"CPU worker {worker}"})
            self._write("M", "thread_sort_index", track, 0, {"sort_index": track})
        self._slice(track, self._name(key), start_ns, duration_ns, {"layer": layer})

    def cpu_stall(self, layer: int, start_ns: int, duration_ns: int) -> None:
        """Note a time for which the GPU waited for the CPU's workers."""
        self._slice(STALLS, "wait for the CPU", start_ns, duration_ns, {"layer": layer})

    def all_to_all(self, layer: int, name: str, start_ns: int, duration_ns: int) -> None:
        """Note tokens on their way among GPUs."""
        self._slice(GPU_STREAM, f"all-to-all, {name}", start_ns, duration_ns, {"layer": layer})

    def barrier(self, start_ns: int, duration_ns: int) -> None:
        """Note a time for which this GPU waited for another."""
        self._slice(STALLS, "wait for another GPU", start_ns, duration_ns, {})

    def _name_tracks(self, process_name: str) -> None:
        self._write("M", "process_name", 0, 0, {"name": process_name})
        for track, name in _TRACKS.items():
            self._write("M", "thread_name", track, 0, {"name": name})
            self._write("M", "thread_sort_index", track, 0, {"sort_index": track})

    def _name(self, key: int) -> str:
        if key >= self._num_keys:
            return f"{self._name(key - self._num_keys)} low"
        bank, expert = divmod(key, self._num_experts)
        return f"L{bank} E{expert}"

    def _slice(self, track: int, name: str, start_ns: int, duration_ns: int, args: Mapping[str, object]) -> None:
        self._write("X", name, track, start_ns, args, f',"dur":{microseconds(duration_ns)}')

    def _write(
        self, phase: str, name: str, track: int, time_ns: int, args: Mapping[str, object], more: str = ""
    ) -> None:
        scope = ',"s":"t"' if phase == "i" else ""
        comma = "" if self._is_first else ",\n"
        self._is_first = False
        self._write_raw(
            f'{comma}{{"ph":"{phase}","name":{_quote(name)},"pid":{self._process},"tid":{track},'
            f'"ts":{microseconds(time_ns)}{more}{scope},"args":{_encode(args)}}}'
        )

    def _write_raw(self, text: str) -> None:
        self._pending.append(text)
        if len(self._pending) >= _EVENTS_PER_WRITE:
            self._flush()

    def _flush(self) -> None:
        with self._disk_errors():
            self._gzip.write("".join(self._pending).encode())
        self._pending.clear()

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        """Turn what the disk refuses into an error that names the file."""
        try:
            yield
        except OSError as error:
            fault = f"cannot be written: {error.strerror}; make room, or run without a timeline"
            raise InputError(self._path.name, fault) from None
