"""KV pages, memory shared with experts, and quantities over time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.model.footprint import attended_tokens, kv_bytes_per_token, state_bytes
from simulator.model.load import load_model
from simulator.model.quantisation import parse_quantisation
from simulator.model.spec import attention_kind
from simulator.serving.kv_pages import KvPages
from simulator.serving.memory import ExpertSlots, KvMemory
from simulator.serving.time_series import MOST_BINS, TimeSeries

BF16 = parse_quantisation("bf16")


@pytest.mark.parametrize("name", ["gpt-oss-20b", "deepseek-v2-lite", "qwen3.5-35b-a3b", "mixtral-8x7b"])
@pytest.mark.parametrize("num_tokens", [1, 16, 17, 128, 129, 5000])
def test_pages_hold_what_layers_attend_to(name: str, num_tokens: int) -> None:
    """A page is rounded up to, layer by layer; windows bound it; GQA, MLA and linear states are the model's."""
    model = load_model(name)
    expected = 0
    for layer in range(model.num_layers):
        kept = num_tokens
        if attention_kind(model, layer) not in ("full", "linear"):
            assert model.attention_window is not None
            kept = min(num_tokens, -(-model.attention_window // 16) * 16)
        expected += -(-kept // 16) * 16 * kv_bytes_per_token(model, layer, 2) + state_bytes(model, layer, 2)
        assert attended_tokens(model, layer, num_tokens) <= -(-kept // 16) * 16
    assert KvPages(model, BF16, 16).bytes_of(num_tokens) == expected


def test_expert_slots_make_room_and_come_back() -> None:
    """Slots of 10 bytes are given up one by one, as few as do, and taken back when there is room to spare."""
    log: list[str] = []

    def note(what: str) -> bool:
        log.append(what)
        return True

    memory = KvMemory(5)
    memory.share_with(
        ExpertSlots(bytes_each=10, most_to_give=2, give_up=lambda: note("give"), take_back=lambda: note("take")),
        spare_frac=0.5,
    )
    assert memory.most_bytes == 25
    assert memory.take(5)
    assert log == []
    assert memory.take(11)
    assert (log, memory.capacity_bytes, memory.most_bytes) == (["give", "give"], 25, 25)
    assert not memory.take(10)
    memory.free(5)
    memory.give_slots_back()
    assert log == ["give", "give"]  # 11 of the 15 bytes that would be left are used: not enough to spare
    memory.free(2)
    memory.give_slots_back()
    assert (log, memory.capacity_bytes) == (["give", "give", "take"], 15)
    memory.free(9)
    memory.give_slots_back()
    assert (log, memory.capacity_bytes) == (["give", "give", "take", "take"], 5)
    assert (memory.num_given_up, memory.num_taken_back, memory.peak_bytes) == (2, 2, 16)


def test_a_fixed_part_is_all_there_is() -> None:
    """What does not fit is not taken."""
    memory = KvMemory(5)
    assert not memory.take(6)
    assert memory.take(5)
    assert not memory.has(1)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 10**10), st.integers(0, 10**12)), max_size=20))
def test_bins_lose_nothing(stretches: list[tuple[int, int]]) -> None:
    """Amounts are spread over bins and joined with none lost, in bounded memory."""
    series, now_ns, total = TimeSeries(["amount"]), 0, 0
    for length_ns, amount in stretches:
        series.add(now_ns, now_ns + length_ns, [amount])
        now_ns += length_ns
        total += amount if length_ns else 0
    assert sum(one for (one,) in series.bins) == total
    assert len(series.bins) <= MOST_BINS


def test_an_amount_is_spread_evenly() -> None:
    """Half of a stretch in a bin brings half of the amount there."""
    series = TimeSeries(["amount"])
    width = series.width_ns
    series.add(width // 2, width + width // 2, [100])
    assert series.bins == [[50], [50]]
