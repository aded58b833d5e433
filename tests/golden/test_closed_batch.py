"""Closed batches give what they gave before there were services, to the nanosecond."""

import json
from functools import cache

import pytest

from tests.golden.cases import GOLDEN, cases, facts


@cache
def golden() -> dict[str, dict[str, object]]:
    """Return what is kept, by case."""
    found: dict[str, dict[str, object]] = json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]
    return found


def test_every_case_is_kept() -> None:
    """No case is without its figures, and no figures without their case."""
    assert list(golden()) == list(cases())


@pytest.mark.parametrize("name", cases())
def test_nothing_has_changed(name: str) -> None:
    """Time, traffic and counts are the same, in all and by cause, layer and request."""
    assert _without_idle_causes(facts(cases()[name])) == _without_idle_causes(golden()[name])


def _without_idle_causes(found: dict[str, object]) -> dict[str, object]:
    """Leave out the causes to which no time went: there are more of them than there were."""
    causes = found["attribution_ns"]
    assert isinstance(causes, dict)
    return found | {"attribution_ns": {cause: time_ns for cause, time_ns in causes.items() if time_ns}}


def test_cases_differ() -> None:
    """What is kept tells the cases apart: a choice that did nothing would say so here."""
    kept = [json.dumps(one, sort_keys=True) for one in golden().values()]
    assert len(set(kept)) == len(kept)
