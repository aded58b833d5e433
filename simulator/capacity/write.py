"""Write a search for the capacity: one folder, made whole under a temporary name and then renamed."""

from collections.abc import Mapping
from pathlib import Path

from simulator.capacity.table import probes_of
from simulator.new_folder import NewFolder, csv_text
from simulator.results import summary_json

FILES = ("capacity.json", "capacity.csv", "capacity.html")


class CapacityFolder(NewFolder):
    """The folder of a search in the making; see `NewFolder`."""

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        super().__init__(path, names=FILES, writer="search for a capacity", overwrite=overwrite)

    def write(self, facts: Mapping[str, object]) -> None:
        """Write the search as JSON, its probes as CSV, and the page."""
        from simulator.capacity.page import capacity_page

        self.write_texts(
            {
                "capacity.json": summary_json(facts),
                "capacity.csv": csv_text(probes_of(facts)),
                "capacity.html": capacity_page(facts),
            }
        )
