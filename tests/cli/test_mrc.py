"""`moesim mrc`: what it prints and writes, and what it says of bad input."""

import csv
import json
from pathlib import Path

import pytest

from tests.cli.conftest import CommandLine

NANO = Path(__file__).parents[2] / "traces" / "nano" / "trace.safetensors"
QUICK = ("mrc", NANO, "--sequences", "3")


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do without the time that compiling takes."""
    monkeypatch.setenv("MOESIM_PLAIN_LOOPS", "1")


def test_all_outputs_tell_the_same(moesim: CommandLine, place: Path) -> None:
    """The table, the rows and the page stand on the counts of the JSON."""
    shown = moesim(*QUICK, "--model", "moesim-nano", "--csv", "rows.csv", "--html", "page.html")
    assert (shown.code, shown.err) == (0, "")
    facts = json.loads(moesim(*QUICK, "--model", "moesim-nano", "--json").out)
    per_layer, of_all = facts["scopes"]
    assert [curve["policy"] for curve in per_layer["curves"]] == ["lru", "lru, best split", "belady"]
    assert [curve["policy"] for curve in of_all["curves"]] == ["lru", "belady"]
    with (place / "rows.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for scope in (per_layer, of_all):
        for curve in scope["curves"]:
            found = [
                row
                for row in rows
                if (row["scope"], row["policy"], row["bank"]) == (scope["scope"], curve["policy"], "")
            ]
            assert [int(row["size_experts"]) for row in found] == curve["size_experts"]
            assert [int(row["hits"]) for row in found] == curve["hits"]
            assert all(int(row["size_bytes"]) == int(row["size_experts"]) * facts["expert_bytes"] for row in found)
    sizes, hits = per_layer["curves"][-1]["size_experts"], per_layer["curves"][-1]["hits"]
    for size, count in zip(sizes, hits, strict=True):
        assert f"{1 - count / per_layer['accesses']:.2%}" in shown.out
        assert f"{size:,}" in shown.out
    page = (place / "page.html").read_text(encoding="utf-8")
    assert "Miss ratio by cache size" in page
    assert "src=" not in page.split("<body>")[0], "nothing is fetched"


def test_the_curves_keep_their_order(moesim: CommandLine) -> None:
    """Banks add up to the whole; the best split misses no more than the even one, and Belady no more than LRU."""
    facts = json.loads(moesim(*QUICK, "--json").out)
    per_layer = facts["scopes"][0]
    lru, split, belady = per_layer["curves"]
    at = dict(zip(lru["size_experts"], lru["hits"], strict=True))
    banks = per_layer["lru_of_banks"]
    num_banks = len(banks)
    for size, hits in at.items():
        slots = [size // num_banks + (bank < size % num_banks) for bank in range(num_banks)]
        assert hits == sum(bank["hits_by_slots"][count] for bank, count in zip(banks, slots, strict=True))
    for size, hits, slots_of_banks in zip(split["size_experts"], split["hits"], split["slots_of_banks"], strict=True):
        assert sum(slots_of_banks) == size
        assert hits >= at[size]
    enough = facts["num_experts_per_bank"] * num_banks // 2
    assert all(
        count >= at[size] for size, count in zip(belady["size_experts"], belady["hits"], strict=True) if size >= enough
    )
    assert lru["hits"][-1] == per_layer["accesses"] - per_layer["first_uses"], "all experts: only first uses miss"


def test_one_layer_and_other_policies(moesim: CommandLine) -> None:
    """A layer is the bank of that layer in the whole; a replayed policy has its own curve at the sizes asked for."""
    whole = json.loads(
        moesim(*QUICK, "--scope", "per_layer", "--policies", "lfu,fifo", "--sizes", "64,50%", "--json").out
    )
    alone = json.loads(moesim(*QUICK, "--layer", "2", "--policies", "lfu", "--sizes", "8,16", "--json").out)
    assert alone["scopes"][0]["lru_of_banks"] == [whole["scopes"][0]["lru_of_banks"][2]]
    assert [curve["size_experts"] for curve in whole["scopes"][0]["curves"][2:]] == [[64, 128]] * 2
    (lru, lfu) = alone["scopes"][0]["curves"]
    assert (lru["policy"], lfu["policy"], lfu["size_experts"]) == ("lru", "lfu", [8, 16])
    assert 0 < lfu["hits"][0] < lfu["hits"][1] < alone["scopes"][0]["accesses"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--sizes", "3"), "fewest"),
        (("--sizes", "1000"), "256 (all)"),
        (("--sizes", "2 GiB"), "--model"),
        (("--sizes", "many"), "25%"),
        (("--sizes", "x%"), "share"),
        (("--layer", "8"), "0 to 7"),
        (("--layer", "1", "--scope", "global"), "per_layer"),
        (("--batch", "0"), "1 or more"),
        (("--sequences", "100000"), "asked for"),
        (("--policies", "lro"), "lru"),
        (("--policies", "least_stale:"), "imported"),
        (("--quantisation", "q4_k"), "--model"),
        (("--model", "moesim-nano", "--quantisation", "q99"), "q99"),
        (("--model", "mixtral-8x7b"), "mixtral-8x7b"),
        (("--html", "nowhere/page.html"), "cannot be written"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], says: str, moesim: CommandLine) -> None:
    """One message with the remedy, and code 2."""
    outcome = moesim(*(QUICK[:2] if "--sequences" in arguments else QUICK), *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert says in outcome.err
    assert outcome.err.startswith("moesim: error: ")
