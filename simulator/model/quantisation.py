"""Number formats of weights: how many bits one weight takes, the scales of its block included.

Every format is entered as one block of its storage layout, in bits, so that the figure is derived and never typed.

Limits: what a format keeps once per tensor or row is left out (the tensor's scale of NVFP4, the row's of INT8, GPTQ's
`g_idx`, the second level of HQQ's zeros), and so is the padding of a last block. A 16-bit scale per row is 0.03 bit per
weight at 512 columns. Mixed recipes such as llama.cpp's Q4_K_M give different tensors different formats: use the format
that the experts have.
"""

import difflib
import re
from dataclasses import dataclass
from fractions import Fraction

from hardware_profiles.quantity import Dimension, parse_quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantisation:
    """A number format.

    `bits_per_weight` is exact and includes scales, `layout` the sum that gives it, `source` the definition it follows.
    """

    name: str
    bits_per_weight: Fraction
    layout: str
    source: str


def _block(name: str, num_weights: int, source: str, **bits: int) -> Quantisation:
    """Define a format by the bits of each part of a block of `num_weights` weights."""
    parts = " + ".join(f"{part} {num_bits}" for part, num_bits in bits.items())
    return Quantisation(
        name=name,
        bits_per_weight=Fraction(sum(bits.values()), num_weights),
        layout=f"({parts}) / {num_weights}",
        source=source,
    )


_GGML = "ggml, the block structures of ggml-common.h"
_HQQ = "HQQ with quantised metadata: scale and zero of a group in 8 bit, the scales' own in fp16"

_TABLE = (
    _block("fp32", 1, "IEEE 754 binary32", value=32),
    _block("bf16", 1, "bfloat16", value=16),
    _block("fp16", 1, "IEEE 754 binary16", value=16),
    _block(
        "fp8", 128 * 128, "DeepSeek-V3 report, 3.3: E4M3, one fp32 scale per 128 x 128 block", value=8 << 14, scale=32
    ),
    _block("int8", 1, "LLM.int8() and W8A8 schemes; the scale per row is left out", value=8),
    _block("mxfp8", 32, "OCP Microscaling Formats 1.0: 32 values, one E8M0 scale", value=32 * 8, scale=8),
    _block("mxfp4", 32, "OCP Microscaling Formats 1.0: 32 E2M1 values, one E8M0 scale", value=32 * 4, scale=8),
    _block("nvfp4", 16, "NVIDIA Blackwell: 16 E2M1 values, one E4M3 scale", value=16 * 4, scale=8),
    _block("q8_0", 32, _GGML, value=32 * 8, scale=16),
    _block("q6_k", 256, _GGML, value=256 * 6, scales=16 * 8, super_scale=16),
    _block("q5_k", 256, _GGML, value=256 * 5, scales_and_minima=12 * 8, super_scale=16, super_minimum=16),
    _block("q5_0", 32, _GGML, value=32 * 5, scale=16),
    _block("q4_k", 256, _GGML, value=256 * 4, scales_and_minima=12 * 8, super_scale=16, super_minimum=16),
    _block("q4_0", 32, _GGML, value=32 * 4, scale=16),
    _block("q3_k", 256, _GGML, value=256 * 3, scales=12 * 8, super_scale=16),
    _block("q2_k", 256, _GGML, value=256 * 2, scales_and_minima=16 * 8, super_scale=16, super_minimum=16),
    _block("int4_g128", 128, "AWQ and GPTQ at group 128: fp16 scale, 4-bit zero", value=128 * 4, scale=16, zero=4),
    _block(
        "nf4",
        64 * 256,
        "QLoRA (Dettmers et al. 2023), double quantisation: 8-bit scale per 64, fp32 per 256 of them",
        value=(64 * 256) * 4,
        scales=256 * 8,
        super_scale=32,
    ),
    _block(
        "hqq4_g64",
        64 * 256,
        f"{_HQQ}, per 256 scales; mixtral-offloading's attention",
        value=(64 * 256) * 4,
        scales=256 * 8,
        zeros=256 * 8,
        super_scale=16,
        super_zero=16,
    ),
    _block(
        "hqq2_g16",
        16 * 128,
        f"{_HQQ}, per 128 scales; mixtral-offloading's experts",
        value=(16 * 128) * 2,
        scales=128 * 8,
        zeros=128 * 8,
        super_scale=16,
        super_zero=16,
    ),
)

QUANTISATIONS: dict[str, Quantisation] = {entry.name: entry for entry in _TABLE}

_ALIASES = {
    "float32": "fp32",
    "bfloat16": "bf16",
    "float16": "fp16",
    "awq": "int4_g128",
    "gptq": "int4_g128",
}

_BITS = re.compile(r"[^a-zA-Z]*bit(/weight)?")


def parse_quantisation(text: str) -> Quantisation:
    """Read a format's name (`"mxfp4"`) or its bits per weight (`"4.25 bit"`).

    Raises ValueError, listing the formats and the close matches, for a name that is not known, and for zero bits.
    """
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is not a quantisation; write a name such as 'bf16' or bits such as '4.25 bit'")
    if _BITS.fullmatch(text.strip()):
        bits = Fraction(parse_quantity(text, Dimension.BITS_PER_WEIGHT))
        if bits == 0:
            raise ValueError(f"{text!r} is zero; a weight takes more than 0 bit")
        return Quantisation(
            name=f"{float(bits):g} bit", bits_per_weight=bits, layout=f"{float(bits):g}", source="as given"
        )
    key = text.strip().lower().replace("-", "_")
    key = _ALIASES.get(key, key)
    if key in QUANTISATIONS:
        return QUANTISATIONS[key]
    close = difflib.get_close_matches(key, [*QUANTISATIONS, *_ALIASES], n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    raise ValueError(
        f"{text!r} is not a quantisation that moesim knows; {hint}known are {', '.join(QUANTISATIONS)}, "
        "or give the bits per weight, such as '4.25 bit'"
    )
