"""Write replications: one folder, made whole under a temporary name and then renamed."""

from collections.abc import Mapping
from pathlib import Path

from simulator.new_folder import NewFolder, csv_text
from simulator.results import summary_json

FILES = ("replications.json", "replications.csv", "replications.html")


class ReplicationFolder(NewFolder):
    """The folder of replications in the making; see `NewFolder`."""

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        super().__init__(path, names=FILES, writer="replications", overwrite=overwrite)

    def write(self, facts: Mapping[str, object], page: str | None = None) -> None:
        """Write them as JSON, as CSV with a row for each figure of each replication, and as a page, if there is one."""
        measures, seeds = facts["measures"], facts["seeds"]
        assert isinstance(measures, Mapping)
        assert isinstance(seeds, list)
        rows = [
            {"figure": name, "seed": seed, "value": value}
            for name, one in measures.items()
            for seed, value in zip(seeds, one["values"], strict=True)
        ]
        pages = {} if page is None else {"replications.html": page}
        self.write_texts({"replications.json": summary_json(facts), "replications.csv": csv_text(rows), **pages})
