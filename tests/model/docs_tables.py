"""Write the tables of docs/models.md that follow from the code; run as a module to renew them.

The published counts stand here, once; the document shows them.
"""

from dataclasses import dataclass
from pathlib import Path

from simulator.model.footprint import active_params, total_params
from simulator.model.load import load_model
from simulator.model.quantisation import QUANTISATIONS

DOCUMENT = Path(__file__).parents[2] / "docs" / "models.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Counts in billions as the publisher of a model gives them."""

    name: str
    total: float
    active: float | None
    with_table: bool = True


PUBLISHED = (
    Published(name="mixtral-8x7b", total=46.7, active=12.9),
    Published(name="mixtral-8x22b", total=141, active=39),
    Published(name="qwen1.5-moe-a2.7b", total=14.3, active=2.7),
    Published(name="qwen3-30b-a3b", total=30.5, active=3.3),
    Published(name="qwen3-235b-a22b", total=235, active=22),
    Published(name="qwen3-coder-480b-a35b", total=480, active=35),
    Published(name="qwen3.5-35b-a3b", total=35, active=3, with_table=False),
    Published(name="deepseek-v2-lite", total=15.7, active=2.4, with_table=False),
    Published(name="deepseek-v3", total=671, active=37),
    Published(name="deepseek-r1", total=671, active=37),
    Published(name="deepseek-v4-flash", total=284, active=13),
    Published(name="kimi-k2", total=1000, active=32, with_table=False),
    Published(name="gpt-oss-20b", total=20.9, active=3.6, with_table=False),
    Published(name="gpt-oss-120b", total=116.8, active=5.1, with_table=False),
    Published(name="olmoe-1b-7b", total=6.9, active=1.3),
    Published(name="phi-3.5-moe", total=41.9, active=6.6),
    Published(name="glm-4.5-air", total=106, active=None),
    Published(name="llama-4-scout", total=109, active=17),
    Published(name="llama-4-maverick", total=400, active=17),
    Published(name="flame-moe-290m", total=1.3, active=0.290),
)


def formats_table() -> str:
    """Return the table of number formats."""
    lines = ["| name | bits per weight | layout, in bits | source |", "|---|---|---|---|"]
    lines += [
        f"| {entry.name} | {float(entry.bits_per_weight):.8g} | {entry.layout} | {entry.source} |"
        for entry in QUANTISATIONS.values()
    ]
    return "\n".join(lines)


def counts_table() -> str:
    """Return the table of published and computed counts."""
    lines = ["| model | total, published | total | active, published | active | table |", "|---|---|---|---|---|---|"]
    for row in PUBLISHED:
        spec = load_model(row.name)
        active = f"{active_params(spec, input_embedding=row.with_table) / 1e9:.4g}"
        table = "yes" if row.with_table else "no"
        lines.append(
            f"| {row.name} | {row.total:g} | {total_params(spec) / 1e9:.4g} | "
            + (f"{row.active:g} | {active} | {table} |" if row.active else "- | - | - |")
        )
    return "\n".join(lines)


def renewed(text: str) -> str:
    """Return the document with both tables as the code gives them."""
    for marker, table in (("formats", formats_table()), ("counts", counts_table())):
        before, mark, after = text.partition(f"<!-- {marker} -->\n")
        assert mark, f"docs/models.md lacks the marker of the {marker} table"
        rest = after.lstrip("\n")
        while rest.startswith("|"):
            rest = rest.partition("\n")[2]
        text = f"{before}{mark}\n{table}\n\n{rest.lstrip()}"
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(renewed(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
