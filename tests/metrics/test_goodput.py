"""Goodput from requests written out by hand."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.metrics.goodput import PROMISES, Served, Slo, goodput, missed_promises

SERVED = Served(class_name="chat", arrival_ns=100, first_token_ns=150, finished_ns=450, output_tokens=4, max_itl_ns=120)
"""TTFT 50, TPOT 100, longest ITL 120, E2E 350."""


@pytest.mark.parametrize(
    ("slo", "missed"),
    [
        (Slo(), []),
        (Slo(ttft_ns=50, tpot_ns=100, itl_ns=120, e2e_ns=350), []),
        (Slo(ttft_ns=49), ["ttft"]),
        (Slo(tpot_ns=99), ["tpot"]),
        (Slo(itl_ns=119), ["itl"]),
        (Slo(e2e_ns=349), ["e2e"]),
        (Slo(ttft_ns=1, tpot_ns=1, itl_ns=1, e2e_ns=1), ["ttft", "tpot", "itl", "e2e"]),
    ],
)
def test_a_promise_is_met_up_to_its_bound(slo: Slo, missed: list[str]) -> None:
    """Equal is met; one ns less is not."""
    assert missed_promises(SERVED, slo) == missed


def test_tpot_is_compared_without_rounding() -> None:
    """301 ns for three gaps are more than 100 ns each; one token has no gaps."""
    assert missed_promises(replace(SERVED, finished_ns=451), Slo(tpot_ns=100)) == ["tpot"]
    single = replace(SERVED, output_tokens=1, finished_ns=150, max_itl_ns=None)
    assert missed_promises(single, Slo(tpot_ns=0, itl_ns=0)) == []


def test_what_was_not_finished_was_not_met() -> None:
    """Rejected or cut off; a first token that came late is told as well."""
    assert missed_promises(replace(SERVED, first_token_ns=None, finished_ns=None), Slo(ttft_ns=1)) == ["unfinished"]
    assert missed_promises(replace(SERVED, finished_ns=None), Slo(ttft_ns=1, tpot_ns=1)) == ["ttft", "unfinished"]
    assert missed_promises(replace(SERVED, finished_ns=None), Slo()) == ["unfinished"]


def test_goodput_by_class() -> None:
    """Two of three chats meet 50 ns, a batch is promised nothing, a cut one fails; over 2 s."""
    requests = [
        SERVED,
        SERVED,
        replace(SERVED, first_token_ns=151),
        replace(SERVED, class_name="batch", output_tokens=100),
        replace(SERVED, class_name="batch", finished_ns=None),
    ]
    found = goodput(requests, {"chat": Slo(ttft_ns=50)}, 2 * 10**9)
    assert list(found) == ["batch", "chat", "all"]
    chat, batch, whole = found["chat"], found["batch"], found["all"]
    assert (chat.requests, chat.met, chat.met_frac, chat.requests_per_s, chat.tokens_per_s) == (3, 2, 2 / 3, 1.0, 4.0)
    assert (batch.met, batch.tokens_per_s, batch.missed["unfinished"]) == (1, 50.0, 1)
    assert (whole.requests, whole.met, whole.requests_per_s, whole.missed["ttft"]) == (5, 3, 1.5, 1)
    assert list(whole.missed) == list(PROMISES)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    ttfts_ns=st.lists(st.integers(0, 100), max_size=20),
    bounds_ns=st.tuples(st.integers(0, 100), st.integers(0, 100)),
)
def test_a_stricter_promise_is_never_met_more_often(ttfts_ns: list[int], bounds_ns: tuple[int, int]) -> None:
    """And met with missed makes all; the classes add up."""
    requests = [
        replace(SERVED, class_name=str(index % 3), first_token_ns=100 + ttft_ns)
        for index, ttft_ns in enumerate(ttfts_ns)
    ]
    strict, loose = (
        goodput(requests, {str(name): Slo(ttft_ns=bound) for name in range(3)}, 10**9) for bound in sorted(bounds_ns)
    )
    assert strict["all"].met <= loose["all"].met
    assert loose["all"].met + loose["all"].missed["ttft"] == len(requests) == loose["all"].requests
    assert sum(one.met for name, one in loose.items() if name != "all") == loose["all"].met


def test_what_makes_no_sense_is_refused() -> None:
    """No time, and a class by the name of all."""
    with pytest.raises(ValueError, match="span_ns is 0"):
        goodput([], {}, 0)
    with pytest.raises(ValueError, match="called 'all'"):
        goodput([replace(SERVED, class_name="all")], {}, 1)
    assert goodput([], {}, 1)["all"].met_frac is None
