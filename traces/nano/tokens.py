"""Train the tokenizer, encode the corpus, draw windows of tokens.

A source's tokens lie in two files of uint16, `<source>.train.npy` and `<source>.held-out.npy`: documents one after the
other, each begun by the token `END_OF_TEXT`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from traces.errors import TraceError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CORPUS = "corpus.json"
END_OF_TEXT = "<|endoftext|>"
_TOKENIZER_CHARACTERS = 24_000_000  # of training text that the tokenizer is made from
_SPLITS = ("train", "held-out")

Tokens = NDArray[np.uint16]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTokens:
    """The encoded text of one source. `share_frac` is its part of the training tokens."""

    name: str
    share_frac: float
    train: Tokens
    held_out: Tokens


def read_documents(data: Path, source: str, *, held_out: bool) -> Iterator[str]:
    """Yield the texts of a source's documents, of one side of the split."""
    for line in (data / f"{source}.jsonl").open(encoding="utf-8"):
        row = json.loads(line)
        if row["held_out"] == held_out:
            yield row["text"]


def corpus_sources(data: Path) -> list[tuple[str, float]]:
    """Return names and shares of the sources of a corpus. Raises TraceError if the folder holds none."""
    try:
        report = json.loads((data / CORPUS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TraceError(data, f"holds no {CORPUS}; make one with python -m traces.nano.corpus --out DIR") from None
    return [(row["source"], float(row["share_frac"])) for row in report]


def train_tokenizer(data: Path, vocabulary: int) -> "Tokenizer":
    """Train a byte-level BPE tokenizer on training documents, from each source in its share."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_tokenizer_texts(data), trainer)
    return tokenizer


def encode_corpus(data: Path, tokenizer: "Tokenizer", out: Path) -> None:
    """Write every source's tokens below `out`, as `load_tokens` reads them."""
    out.mkdir(parents=True, exist_ok=True)
    end = tokenizer.token_to_id(END_OF_TEXT)
    for source, _ in corpus_sources(data):
        for split in _SPLITS:
            texts = list(read_documents(data, source, held_out=split == "held-out"))
            parts = [np.array([end, *encoded.ids], np.uint16) for encoded in tokenizer.encode_batch_fast(texts)]
            np.save(out / f"{source}.{split}.npy", np.concatenate(parts) if parts else np.empty(0, np.uint16))


def load_tokens(data: Path, out: Path) -> list[SourceTokens]:
    """Open the tokens that `encode_corpus` wrote, memory-mapped."""
    loaded = []
    for name, share_frac in corpus_sources(data):
        train, held_out = (np.load(out / f"{name}.{split}.npy", mmap_mode="r") for split in _SPLITS)
        loaded.append(SourceTokens(name=name, share_frac=share_frac, train=train, held_out=held_out))
    return loaded


def draw_windows(sources: list[SourceTokens], *, windows: int, length: int, seed: tuple[int, int]) -> Tokens:
    """Draw training windows at random, [windows, length], from each source in its share.

    The same seed draws the same windows, so that a resumed training sees what an uninterrupted one would have.
    """
    generator = np.random.default_rng(seed)
    shares = np.array([source.share_frac for source in sources])
    chosen = generator.choice(len(sources), size=windows, p=shares / shares.sum())
    rows = []
    for index in chosen:
        stream = sources[index].train
        start = int(generator.integers(0, len(stream) - length + 1))
        rows.append(stream[start : start + length])
    return np.stack(rows)


def held_out_windows(source: SourceTokens, *, windows: int, length: int) -> Tokens:
    """Return up to `windows` windows, [<= windows, length], spread evenly over a source's held-out tokens."""
    available = len(source.held_out) // length
    starts = np.linspace(0, max(available - 1, 0), min(windows, available)).round().astype(int) * length
    return np.stack([source.held_out[start : start + length] for start in starts])


def _tokenizer_texts(data: Path) -> Iterator[str]:
    """Yield training documents spread evenly over each source, up to its share of the tokenizer's text."""
    for source, share_frac in corpus_sources(data):
        lengths = [len(text) for text in read_documents(data, source, held_out=False)]
        kept_frac = _TOKENIZER_CHARACTERS * share_frac / max(sum(lengths), 1)
        passed = kept = 0
        for text in read_documents(data, source, held_out=False):
            passed += len(text)
            if kept <= kept_frac * passed:
                kept += len(text)
                yield text
