"""Load the model and the tokenizer of a capture, after refusing what cannot be captured."""

from importlib.util import find_spec
from pathlib import Path

import torch
import transformers
from transformers.models.auto import modeling_auto

from traces.capture.layers import find_moe_layers
from traces.errors import TraceError


def find_auto_class(model: str, *, trust_remote_code: bool) -> "type[transformers.AutoModelForCausalLM]":
    """Return the auto class of a model, a hub id or a local path. No weights are loaded for that.

    Raises TraceError for a model that is not there, that does not generate, or that has no experts.
    """
    if Path(model).is_absolute() or model.startswith((".", "~")):
        if not Path(model).is_dir():
            raise TraceError(model, "no such directory; name a local model, or a hub id")
    elif not Path(model).exists() and model.count("/") > 1:
        raise TraceError(model, "is no directory here, and no hub id (owner/name)")
    try:
        config = transformers.AutoConfig.from_pretrained(model, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise TraceError(model, f"cannot be loaded: {first_line(error)}") from None
    remote = getattr(config, "auto_map", None) if trust_remote_code else None
    auto_classes = (
        (transformers.AutoModelForCausalLM, modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
        (transformers.AutoModelForSeq2SeqLM, modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES),
        (transformers.AutoModelForImageTextToText, modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES),
    )
    found: list[type[transformers.AutoModelForCausalLM]] = [
        auto for auto, names in auto_classes if config.model_type in names or auto.__name__ in (remote or {})
    ]
    if not found or _is_encoder(config):
        raise TraceError(
            model, f"({config.model_type}) is encoder-only or makes no text; capture needs a model that generates"
        )
    if remote is None:
        with torch.device("meta"):
            find_moe_layers(found[0].from_config(config))
    return found[0]


def load_tokenizer(name: str, *, trust_remote_code: bool) -> transformers.PreTrainedTokenizerBase:
    """Load a tokenizer. Raises TraceError if that fails, or it has no vocabulary."""
    try:
        tokenizer: transformers.PreTrainedTokenizerBase = transformers.AutoTokenizer.from_pretrained(
            name, trust_remote_code=trust_remote_code
        )
    except Exception as error:
        raise TraceError(
            name, f"has no tokenizer that can be loaded ({first_line(error)}); name one with --tokenizer"
        ) from None
    if not len(tokenizer):
        raise TraceError(name, "has a tokenizer without a vocabulary; name one with --tokenizer")
    return tokenizer


def load_network(
    auto_class: "type[transformers.AutoModelForCausalLM]",
    model: str,
    *,
    dtype: str,
    device: str,
    trust_remote_code: bool,
) -> transformers.PreTrainedModel:
    """Load a model for inference; the device `auto` is all CUDA devices, or else the CPU.

    Raises TraceError if that fails, or several devices are there and accelerate is not.
    """
    several = device == "auto" and torch.cuda.device_count() > 1
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    can_place = find_spec("accelerate") is not None
    if several and not can_place:
        raise TraceError(
            "--device", "auto spreads the model over several GPUs with accelerate: pip install accelerate, or name one"
        )
    keywords: dict[str, object] = {}
    if device != "cpu" and can_place:  # weights go straight to the GPU
        keywords = {"device_map": "auto" if several else device}
    try:
        network: transformers.PreTrainedModel = auto_class.from_pretrained(
            model, dtype=dtype, trust_remote_code=trust_remote_code, **keywords
        )
    except (OSError, ValueError, ImportError) as error:
        raise TraceError(model, f"cannot be loaded: {first_line(error)}") from None
    if not keywords:
        network.to(torch.device(device))
    network.eval()
    return network


def first_line(error: BaseException) -> str:
    """Return what an error of another library says, as a clause."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _is_encoder(config: transformers.PreTrainedConfig) -> bool:
    """Tell whether the checkpoint was saved as an encoder, of an architecture that could be a decoder too."""
    masked = config.model_type in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    made = getattr(config, "architectures", None) or []
    generates = any("CausalLM" in name or "LMHead" in name or "Generation" in name for name in made)
    return masked and not generates and not config.is_encoder_decoder and not getattr(config, "is_decoder", False)
