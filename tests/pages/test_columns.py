"""What a page of points holds, without a browser."""

import base64
import gzip
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_profiles.errors import InputError
from simulator.explorer import explorer_page
from simulator.explorer.columns import columns_of
from simulator.explorer.names import name_of
from tests.pages.sweep import AXES, REASON, SYSTEMS, large_sweep, small_sweep

_NUMBERS = st.one_of(st.none(), st.integers(-(2**53), 2**53), st.floats(allow_nan=True, allow_infinity=True))
_WORDS = st.text(st.characters(codec="utf-8"), max_size=12)
_ROWS = st.lists(
    st.fixed_dictionaries(
        {"axis": st.one_of(_WORDS, st.integers(0, 3)), "cache.frac": st.sampled_from((0.1, 0.5)), "command": _WORDS},
        optional={"makespan_ns": _NUMBERS, "tpot_s": st.fixed_dictionaries({"p50": _NUMBERS}), "remark": _WORDS},
    ),
    min_size=1,
    max_size=12,
)


def held(page: str) -> Mapping[str, Any]:
    """Return the data that a page brings, found as the browser finds it."""
    found = re.search(r'<script type="application/gzip" id="data">([A-Za-z0-9+/=]+)</script>', page)
    assert found is not None
    data: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(found[1])))
    return data


@given(_ROWS)
@settings(max_examples=150, derandomize=True, deadline=None)
def test_every_value_comes_back(rows: list[dict[str, Any]]) -> None:
    """Axes by their levels, numbers exactly, commands word by word; what is no number of JSON is missing."""
    data: Any = json.loads(json.dumps(columns_of(rows, ["axis", "cache.frac"]), allow_nan=False))
    axis, frac = data["axes"]
    constants = {entry["label"]: entry["value"] for entry in data["constants"]}
    metrics = {metric["name"]: metric["values"] for metric in data["metrics"]}
    for place, row in enumerate(rows):
        level = axis["levels"][axis["at"][place]]
        is_numeric = all(isinstance(one["axis"], int) for one in rows)
        assert level == (row["axis"] if is_numeric else str(row["axis"]) or "none")
        assert frac["levels"][frac["at"][place]] == row["cache.frac"]
        words = [data["command"]["words"][word] for word in data["command"]["rows"][place]]
        assert " ".join(words) == row["command"]
        for name, label, value in (
            ("makespan_ns", "makespan", row.get("makespan_ns")),
            ("tpot_s.p50", "TPOT p50", row.get("tpot_s", {}).get("p50")),
        ):
            wanted = value if value is not None and math.isfinite(value) else None
            if name in metrics:
                assert metrics[name][place] == wanted
            elif label in constants:
                assert constants[label] in (wanted, str(value))
            else:
                assert wanted is None


def test_a_page_admits_its_own_scripts_only() -> None:
    """Its policy names the digests of the two scripts, and allows no address whatever; no text of a row is markup."""
    page = explorer_page(small_sweep(), axes=AXES, title="<i>Points</i>", notes=["</main><script>"])
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    library = re.search(r'id="library">([^<]*)<', page)
    own = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert library is not None
    assert own is not None
    texts = [gzip.decompress(base64.b64decode(library[1])), own[1].encode()]
    digests = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in texts)
    assert f"script-src {digests};" in html.unescape(policy[1])
    assert "default-src 'none'" in policy[1]
    assert not re.search(r"https?://", page)
    assert page.count("<script") == 3
    assert "<i>" not in page
    assert "innerHTML" not in own[1]
    assert held(page)["axes"][2]["levels"] == list(SYSTEMS)


def test_the_same_points_make_the_same_page() -> None:
    """Byte for byte."""
    assert explorer_page(small_sweep(), axes=AXES, title="Points") == explorer_page(
        small_sweep(), axes=AXES, title="Points"
    )


def test_ten_thousand_points_fit_in_six_megabytes() -> None:
    """With the library."""
    rows = large_sweep()
    assert len(rows) == 10_000
    assert len(explorer_page(rows, axes=(*AXES, "seed"), title="Many").encode()) < 6e6


def test_what_is_alike_is_said_once() -> None:
    """Not as a metric; times in s give way to the same in ns; causes and tokens stay, for the plots."""
    data: Any = columns_of([row for row in small_sweep() if row["status"] == "ok"], AXES)
    metrics = [metric["name"] for metric in data["metrics"]]
    assert {"label": "expert", "unit": "bytes", "value": 13_238_272} in data["constants"]
    assert "expert_bytes" not in metrics
    assert "tokens" in metrics
    assert [cause["label"] for cause in data["attribution"]][:2] == ["expert compute", "non expert compute"]
    assert not any(name.startswith("attribution_s") for name in metrics)


def test_flat_names_are_causes_as_well() -> None:
    """A sweep's table has `attribution_idle_ns` where a summary has `idle` in `attribution_ns`."""
    rows = [{"batch": 1, "attribution_idle_ns": 5, "attribution_idle_s": 5e-9, "attribution_kv_swap_ns": 7}]
    data: Any = columns_of(rows, ["batch"])
    assert data["attribution"] == [
        {"name": "attribution_idle_ns", "label": "idle"},
        {"name": "attribution_kv_swap_ns", "label": "kv swap"},
    ]


def test_failed_points_keep_their_reason() -> None:
    """As it was given."""
    data: Any = columns_of(small_sweep(), AXES)
    failed = [place for place, is_failed in enumerate(data["failed"]) if is_failed]
    assert len(failed) == 9
    assert {data["reason"]["levels"][data["reason"]["at"][place]] for place in failed} == {REASON}


def test_rows_that_share_a_key_are_told_apart() -> None:
    """So that a link names one row."""
    keys = columns_of([{"batch": batch, "key": "same"} for batch in range(3)], ["batch"])["key"]
    assert keys == ["same", "same.1", "same.2"]


@pytest.mark.parametrize(
    ("rows", "axes", "told"),
    [
        ([], ["batch"], "run at least one point"),
        ([{"batch": 1}], [], "name at least one column"),
        ([{"batch": 1}], ["bath"], "bath is in no row; there are batch"),
    ],
)
def test_nothing_to_show(rows: list[Mapping[str, object]], axes: list[str], told: str) -> None:
    """Is the caller's fault, and said so."""
    with pytest.raises(InputError, match=told):
        explorer_page(rows, axes=axes, title="None")


@pytest.mark.parametrize(
    ("column", "label", "unit", "less"),
    [
        ("tpot_s.p50", "TPOT p50", "s", True),
        ("tpot_p50_s", "TPOT p50", "s", True),
        ("throughput_tokens_per_s", "throughput", "tokens/s", False),
        ("cache.bytes", "cache", "bytes", True),
        ("busy_frac.gpu", "busy GPU", "frac", True),
        ("hit_frac", "hit", "frac", False),
        ("makespan_ns", "makespan", "ns", True),
        ("tokens", "tokens", "", True),
        ("energy_j_per_token", "energy", "J/token", True),
    ],
)
def test_names_tell_units(column: str, label: str, unit: str, less: bool) -> None:
    """By their suffixes."""
    known = name_of(column)
    assert (known.label, known.unit, known.less_is_better) == (label, unit, less)
