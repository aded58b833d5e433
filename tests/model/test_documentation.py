"""docs/models.md says what the code says, and the code what the publishers say."""

from dataclasses import fields

import pytest

from simulator.model.footprint import active_params, total_params
from simulator.model.load import load_model
from simulator.model.spec import ModelSpec
from tests.model.docs_tables import DOCUMENT, PUBLISHED, Published, renewed


def test_tables_are_those_of_the_code() -> None:
    """`python -m tests.model.docs_tables` renews them."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert renewed(text) == text


def test_every_field_is_explained() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [field.name for field in fields(ModelSpec) if f"`{field.name}`" not in text] == []


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row.name)
def test_counts_agree_with_the_published_ones(row: Published) -> None:
    """Within 3 %: publishers round, some to one figure."""
    spec = load_model(row.name)
    assert total_params(spec) / 1e9 == pytest.approx(row.total, rel=0.03)
    if row.active is not None:
        assert active_params(spec, input_embedding=row.with_table) / 1e9 == pytest.approx(row.active, rel=0.03)
