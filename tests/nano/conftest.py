"""A corpus small enough to train on within a test."""

import json
import random
from pathlib import Path

import pytest

WORDS = {
    "letters": ("alpha", "beta", "gamma", "delta", "epsilon"),
    "numbers": ("one", "two", "three", "four", "five", "six"),
}


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder as `traces.nano.corpus` writes it: two sources, ten documents each, two of them held out."""
    folder = tmp_path_factory.mktemp("corpus")
    chosen = random.Random(0)
    report = []
    for name, words in WORDS.items():
        lines = [
            json.dumps(
                {
                    "document": f"{name}-{number}",
                    "held_out": number >= 8,
                    "text": "\n".join(" ".join(chosen.choices(words, k=8)) for _ in range(40)),
                }
            )
            for number in range(10)
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        report.append({"source": name, "packages": {}, "licence": "none", "share_frac": 0.5})
    (folder / "corpus.json").write_text(json.dumps(report), encoding="utf-8")
    return folder
