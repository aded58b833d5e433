"""Write a run's results: one folder, made whole under a temporary name and then renamed."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import yaml

from hardware_profiles.load import digest
from simulator.new_folder import NewFolder, csv_text
from simulator.replicas.summary import flat_row
from simulator.run import RunResult
from simulator.scenario import plain, relative_to
from simulator.serving.record import CAUSES_OF_SEVERAL_GPUS
from simulator.serving.served import Served

FILES = ("summary.json", "requests.csv", "layers.csv", "scenario.yaml", "provenance.json")
REPLICAS = "replicas.csv"
TIMELINE = "timeline.json.gz"


def summary_json(summary: Mapping[str, object]) -> str:
    """Return the summary as JSON text; the same run gives the same bytes."""
    return json.dumps(summary, indent=2, allow_nan=False) + "\n"


class ResultFolder(NewFolder):
    """The folder of a run's results in the making; see `NewFolder`."""

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        super().__init__(path, names={*FILES, REPLICAS, TIMELINE}, writer="run", overwrite=overwrite)

    def write(self, result: RunResult) -> None:
        """Write all but the timeline, which the run itself writes to `staging`."""
        texts = {
            "summary.json": summary_json(result.summary),
            "requests.csv": csv_text(request_rows(result)),
            "layers.csv": csv_text(result.layers),
            "scenario.yaml": yaml.safe_dump(relative_to(plain(result.scenario), self.target), sort_keys=False),
            "provenance.json": json.dumps(provenance(result), indent=2) + "\n",
        }
        assert set(texts) == set(FILES)
        if "replicas" in result.summary:
            texts[REPLICAS] = csv_text(replica_rows(result.summary))
        self.write_texts(texts)


def request_rows(result: RunResult) -> list[dict[str, object]]:
    """Return one row per request that took a place in the batch, or arrived. Times in ns from the start of the run."""
    if result.requests and isinstance(result.requests[0], Served):
        has_replicas = "replicas" in result.summary
        return [_row_of_served(one, has_replicas) for one in result.requests if isinstance(one, Served)]
    rows: list[dict[str, object]] = []
    for request in result.requests:
        started, first, last = request.started_ns, request.first_token_ns, request.last_token_ns
        has_tokens = request.output_tokens > 0
        rows.append(
            {
                "request": request.index,
                "sequence": request.sequence,
                "prompt_tokens": request.prompt_tokens,
                "output_tokens": request.output_tokens,
                "finished": int(request.finished),
                "started_ns": started,
                "first_token_ns": first if has_tokens else "",
                "last_token_ns": last if has_tokens else "",
                "ttft_ns": first - started if has_tokens else "",
                "e2e_ns": last - started if request.finished else "",
            }
        )
    return rows


def replica_rows(summary: Mapping[str, object]) -> list[dict[str, object]]:
    """Return one row per replica of a service."""
    replicas = summary["replicas"]
    assert isinstance(replicas, Mapping)
    return [flat_row(row) for row in replicas["each"]]


def _row_of_served(request: Served, has_replicas: bool) -> dict[str, object]:
    """Return the row of a service's request; `stall_*_ns` say what the steps that it took part in were spent on."""
    arrival, first = request.arrival, request.first_token_ns
    has_tokens, finished = first >= 0, request.finished
    spent_ns = request.waited_ns + sum(request.stalls_ns)
    return {
        "request": request.index,
        **({"replica": request.replica} if has_replicas else {}),
        "class": request.class_name,
        "category": arrival.category or "",
        "session": "" if arrival.session is None else arrival.session,
        "sequence": request.sequence if request.sequence >= 0 else "",
        "prompt_tokens": request.prompt_tokens,
        "asked_tokens": arrival.output_tokens,
        "output_tokens": request.output_tokens if finished else "",
        "finished": int(finished),
        "preemptions": request.num_preemptions,
        "arrival_ns": arrival.arrival_ns,
        "started_ns": request.started_ns if request.started_ns >= 0 else "",
        "first_token_ns": first if has_tokens else "",
        "last_token_ns": request.finished_ns if finished else "",
        "ttft_ns": first - arrival.arrival_ns if has_tokens else "",
        "e2e_ns": request.finished_ns - arrival.arrival_ns if finished else "",
        "queue_ns": request.waited_ns if finished else "",
        "blocked_ns": request.finished_ns - arrival.arrival_ns - spent_ns if finished else "",
        **{
            f"stall_{cause}_ns": spent if finished else ""
            for cause, spent in zip(
                CAUSES_OF_SEVERAL_GPUS, request.stalls_ns, strict=False
            )  # one GPU: the first of them
        },
    }


def provenance(result: RunResult) -> dict[str, object]:
    """Return what the run depended on: version and digests."""
    return {
        "moesim_version": version("moesim"),
        "trace": str(result.trace.path),
        "trace_sha256": result.trace.digest(),
        "trace_model": result.trace.metadata.model,
        "trace_source": result.trace.metadata.source,
        "hardware": result.profile.name,
        "hardware_sha256": digest(result.profile),
        "model": result.model.name,
    }
