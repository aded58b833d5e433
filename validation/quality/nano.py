"""Write the texts on which moesim-nano is measured: `python -m validation.quality.nano --data CORPUS --out DIR`.

`evaluated.jsonl` has passages of held-out documents of the corpus, `learned.jsonl` passages of training documents, both from
each source of text in its share of the training, one or more of each.
"""

import json
from itertools import islice
from pathlib import Path

from cyclopts import App

from traces.nano.tokens import corpus_sources, read_documents

EVALUATED, LEARNED = "evaluated.jsonl", "learned.jsonl"
_CHARACTERS = 1400  # of a passage: more than 257 tokens of any of the sources
_NUM_EVALUATED, _NUM_LEARNED = 20, 60

app = App(name="validation.quality.nano", help="Write the texts on which moesim-nano is measured.")


@app.default
def write(*, data: Path, out: Path) -> None:
    """Write both files.

    Parameters
    ----------
    data
        The folder that `python -m traces.nano.corpus` wrote.
    out
        The folder to write into.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name, total, held_out in ((EVALUATED, _NUM_EVALUATED, True), (LEARNED, _NUM_LEARNED, False)):
        rows = []
        for source, wanted in shared_out(corpus_sources(data), total).items():
            long_enough = (text for text in read_documents(data, source, held_out=held_out) if len(text) >= _CHARACTERS)
            rows += [{"text": text[:_CHARACTERS], "category": source} for text in islice(long_enough, wanted)]
        (out / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def shared_out(shares: list[tuple[str, float]], total: int) -> dict[str, int]:
    """Divide a number among sources by their shares, one or more for each; what is left goes to the least served."""
    given = {name: 1 for name, _ in shares}
    while sum(given.values()) < total:
        given[max(shares, key=lambda one: one[1] / given[one[0]])[0]] += 1
    return given


if __name__ == "__main__":
    app()
