"""Write a comparison: one folder, made whole under a temporary name and then renamed."""

from collections.abc import Mapping
from pathlib import Path

from simulator.compare.facts import flat, rows_of
from simulator.new_folder import NewFolder, csv_text
from simulator.results import summary_json

FILES = ("compare.json", "compare.csv", "compare.html")


class ComparisonFolder(NewFolder):
    """The folder of a comparison in the making; see `NewFolder`."""

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        super().__init__(path, names=FILES, writer="comparison", overwrite=overwrite)

    def write(self, facts: Mapping[str, object]) -> None:
        """Write the comparison as JSON, as CSV and as a page."""
        from simulator.compare.page import comparison_page

        texts = {
            "compare.json": summary_json(facts),
            "compare.csv": csv_text([flat(row) for row in rows_of(facts)]),
            "compare.html": comparison_page(facts),
        }
        assert set(texts) == set(FILES)
        self.write_texts(texts)
