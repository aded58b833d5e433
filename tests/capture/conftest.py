"""Tiny checkpoints on disk, as `moesim capture` loads them."""

import importlib.util
from pathlib import Path

import pytest

if importlib.util.find_spec("torch"):
    import torch

    torch.set_num_threads(1)  # models this small spend their time waiting for a second one


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a saved Mixtral of three layers with a tokenizer of whole words and a chat template."""
    pytest.importorskip("torch")
    from tests.capture.families import build

    folder = tmp_path_factory.mktemp("checkpoint")
    build("mixtral").save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_tokenizer(folder: Path) -> None:
    """Save a tokenizer whose words are w3 to w96, with ids 3 to 96."""
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2} | {f"w{number}": number for number in range(3, 97)}
    model = tokenizers.models.WordLevel(vocab=vocabulary, unk_token="w3")
    words = tokenizers.Tokenizer(model)
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="w3"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] == 'user' and 'w4 ' or 'w5 ' }}{{ m['content'] }} {% endfor %}w6"
    )
    tokenizer.save_pretrained(folder)
