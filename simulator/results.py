"""Write a run's results: one folder, made whole under a temporary name and then renamed."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import yaml

from hardware_profiles.load import digest
from simulator.new_folder import NewFolder, csv_text
from simulator.run import RunResult
from simulator.scenario import plain, relative_to

FILES = ("summary.json", "requests.csv", "layers.csv", "scenario.yaml", "provenance.json")
TIMELINE = "timeline.json.gz"


def summary_json(summary: Mapping[str, object]) -> str:
    """Return the summary as JSON text; the same run gives the same bytes."""
    return json.dumps(summary, indent=2, allow_nan=False) + "\n"


class ResultFolder(NewFolder):
    """The folder of a run's results in the making; see `NewFolder`."""

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        super().__init__(path, names={*FILES, TIMELINE}, writer="run", overwrite=overwrite)

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
        self.write_texts(texts)


def request_rows(result: RunResult) -> list[dict[str, object]]:
    """Return one row per request that took a place in the batch. Times in ns from the start of the run."""
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
