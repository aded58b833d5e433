"""The timelines of replicas, in one file: a group of tracks for each, all in the same time."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hardware_profiles.errors import InputError
from simulator.merged_timeline import merge_timelines
from simulator.timeline import Timeline

_MOST = 100  # each has a file of its own open


@contextmanager
def timelines_of_replicas(
    path: Path | None, count: int, *, num_experts: int, num_keys: int
) -> Iterator[Sequence[Timeline | None]]:
    """Open a timeline for each replica; all are put into `path` at the end. Raises InputError for too many."""
    if path is None:
        yield [None] * count
        return
    if count > _MOST:
        raise InputError(
            "--timeline", f"shows {_MOST} replicas at most, and there are {count}; run fewer, or without it"
        )
    with tempfile.TemporaryDirectory(prefix=".replicas-", dir=path.parent) as folder:
        parts = [(f"replica {at}", Path(folder) / f"{at}.json.gz") for at in range(count)]
        with ExitStack() as stack:
            yield [
                stack.enter_context(Timeline(part, num_experts=num_experts, num_keys=num_keys, process_name=name))
                for name, part in parts
            ]
        merge_timelines(path, parts)
