"""What a quick plan assumes of routing is as kind to a cache as it says."""

import json
import re
from pathlib import Path

import numpy as np

from simulator.plan import quick_routing
from simulator.plan.quick_routing import DEFAULT_SKEW, DEFAULT_STICKINESS
from traces.statistics.miss_ratio import lru_hit_rates
from traces.synthesis.generate import draw_sequences
from traces.synthesis.generic import generic_model

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "mrc_gpt-oss-20b.json"
PLAN_PAGE = Path(__file__).parents[2] / "docs" / "plan.md"


def test_the_defaults_hit_as_the_docs_say() -> None:
    """With a quarter and half of the experts, drawn in gpt-oss-20b's shape, and as recorded."""
    model = generic_model(
        num_layers=24, num_experts=32, top_k=4, skew=DEFAULT_SKEW, stickiness=DEFAULT_STICKINESS, sequence_tokens=512
    )
    drawn = lru_hit_rates(draw_sequences(model, num_tokens=4096, seed=0).expert_ids, 32).mean(axis=0)
    per_layer = json.loads(RESULTS.read_text(encoding="utf-8"))["facts"]["scopes"][0]
    lru = per_layer["curves"][0]
    recorded = dict(zip(lru["size_experts"], lru["hits"], strict=True))
    shares = [hit for slots in (8, 16) for hit in (drawn[slots - 1], recorded[24 * slots] / per_layer["accesses"])]
    for text in (str(quick_routing.__doc__), PLAN_PAGE.read_text(encoding="utf-8")):
        told = [float(share) for share in re.findall(r"(\d\d\.\d)\s%", text)]
        np.testing.assert_allclose(told, np.array(shares) * 100, atol=0.06)
