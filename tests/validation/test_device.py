"""Devices by name, their memory, their marks; CUDA's calls in order, and on a GPU where there is one."""

import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from hardware_profiles.errors import InputError
from tests.validation.test_link import ended
from validation.runtime.device import MAX_SLAB_BYTES, CpuDevice, CudaDevice, Device, open_device, slab_bytes
from validation.runtime.event_clock import RENEW_NS, EventClock
from validation.runtime.link import CopyLink


def test_the_cpu_by_name() -> None:
    """Its memory is zeroed, its copies are there at once, its marks are times."""
    device: Device = open_device("cpu")
    assert (device.name, device.torch_device, device.is_asynchronous) == ("cpu", torch.device("cpu"), False)
    source = device.host_tensor(6, torch.bfloat16)
    target = device.device_tensor((2, 3), torch.bfloat16)
    assert source.shape == (6,)
    assert not source.any()
    assert not target.any()
    source.copy_(torch.arange(6))
    before_ns = device.now_ns()
    mark = device.mark()
    device.copy(target.view(-1), source, mark)
    assert target.tolist() == [[0, 1, 2], [3, 4, 5]]
    target += 1
    device.copy_back(source, target.view(-1), None)
    assert source.tolist() == [1, 2, 3, 4, 5, 6]
    device.synchronize()
    device.recycle([mark])
    assert before_ns <= device.time_ns(mark) <= device.now_ns()


@pytest.mark.parametrize("name", ["gpu", "CPU", "cpu:0", "cuda:", "cuda:-1", "cuda:x", "", "cuda:0 "])
def test_another_name_is_refused(name: str) -> None:
    """With the option, the name, and those that there are."""
    with pytest.raises(InputError) as caught:
        open_device(name)
    assert str(caught.value) == f"--device: is {name!r}; name cpu, cuda or cuda:<number>"


def test_cuda_without_a_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what torch sees, and what to do."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError) as caught:
        open_device("cuda:0", source="suite.yaml: device")
    message = str(caught.value)
    assert message.startswith(f"suite.yaml: device: is 'cuda:0', but torch {torch.__version__} (")
    assert "sees no CUDA device; install a CUDA build of torch" in message


@pytest.mark.parametrize(("count", "names"), [(1, "cuda:0 alone"), (4, "cuda:0 to cuda:3")])
def test_a_number_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch, count: int, names: str) -> None:
    """With the numbers that there are."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(InputError, match=f"is 'cuda:4', but torch sees {count} CUDA .*: {names}; name one of them"):
        open_device("cuda:4")


@pytest.mark.parametrize(
    ("tensor_bytes", "expected"),
    [(1, 16), (1000, 16_384), (17_301_504, 1 << 29), (352_321_536, MAX_SLAB_BYTES), (5 << 30, 8 << 30)],
)
def test_a_slab_is_a_power_of_two(tensor_bytes: int, expected: int) -> None:
    """It holds 16 tensors, or what 4 GiB hold, or one that is larger still."""
    assert slab_bytes(tensor_bytes) == expected


class FakeEvent:
    """An event of a GPU whose clock runs `drift` faster than the host's, and was 0 at 1,000 s of it."""

    now_ns = 0
    drift = 0.0

    def record(self) -> None:
        """Happen now."""
        self.gpu_ms = (FakeEvent.now_ns - 10**12) * (1 + FakeEvent.drift) / 1e6

    def synchronize(self) -> None:
        """See it happen, 10 us later."""
        FakeEvent.now_ns += 10_000

    def elapsed_time(self, end_event: "FakeEvent") -> float:
        """Return the distance as the float32 that CUDA returns."""
        rounded: float = struct.unpack("f", struct.pack("f", end_event.gpu_ms - self.gpu_ms))[0]
        return rounded


def fake_clock(*, drift: float) -> EventClock:
    """Return a clock over fake events."""
    FakeEvent.now_ns = 5 * 10**12
    FakeEvent.drift = drift
    return EventClock(make_event=FakeEvent, record=FakeEvent.record, now_ns=lambda: FakeEvent.now_ns)


def test_event_times_stay_exact_over_hours() -> None:
    """With 20 us of drift a second, each of the events of two hours is told to 20 us, read at the end."""
    clock = fake_clock(drift=20e-6)
    recorded = []
    for _ in range(240):
        FakeEvent.now_ns += 30 * 10**9 + 12_345
        clock.keep_near()
        FakeEvent.now_ns += RENEW_NS // 2
        event = FakeEvent()
        event.record()
        recorded.append((FakeEvent.now_ns, event))
        clock.keep_near()
    assert max(abs(clock.time_ns(event) - at_ns) for at_ns, event in recorded) < 20_000


def test_a_base_far_away_would_not_be_exact() -> None:
    """Without renewal the same events are off by a hundred times more: what the test above can tell."""
    clock = fake_clock(drift=20e-6)
    FakeEvent.now_ns += 3600 * 10**9
    event = FakeEvent()
    event.record()
    assert abs(clock.time_ns(event) - FakeEvent.now_ns) > 1_000_000


def test_the_base_is_renewed_when_it_is_old() -> None:
    """Not before: a renewal costs some tens of microseconds."""
    clock = fake_clock(drift=0.0)
    FakeEvent.now_ns += RENEW_NS - 1_000_000
    young_ns = FakeEvent.now_ns
    clock.keep_near()
    assert FakeEvent.now_ns == young_ns
    FakeEvent.now_ns += 2_000_000
    old_ns = FakeEvent.now_ns
    clock.keep_near()
    assert FakeEvent.now_ns > old_ns


class FakeCuda:
    """Stands in for streams and events of torch.cuda; `log` holds the calls in order."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.num_streams = 0
        self.num_events = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the fakes in place."""
        fake = self

        class Stream:
            def __init__(self, *_: object) -> None:
                self.name = f"stream {fake.num_streams}"
                fake.num_streams += 1

            def wait_event(self, event: "Event") -> None:
                fake.log.append(f"{self.name} waits for {event.name}")

            def synchronize(self) -> None:
                fake.log.append(f"{self.name} synchronize")

        class Event:
            def __init__(self, *, enable_timing: bool = False) -> None:
                self.name = f"event {fake.num_events}"
                self.is_timed = enable_timing
                fake.num_events += 1

            def record(self, stream: Stream) -> None:
                fake.log.append(f"{self.name} on {stream.name}")
                self.at_ms = time.perf_counter_ns() / 1e6

            def synchronize(self) -> None:
                fake.log.append(f"{self.name} synchronize")

            def elapsed_time(self, end_event: "Event") -> float:
                assert self.is_timed
                assert end_event.is_timed
                return end_event.at_ms - self.at_ms

        @contextmanager
        def use(stream: Stream) -> Iterator[None]:
            fake.log.append(f"enter {stream.name}")
            yield
            fake.log.append(f"leave {stream.name}")

        compute = Stream()
        empty = torch.empty
        for name, value in (("Stream", Stream), ("Event", Event), ("stream", use)):
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: compute)
        monkeypatch.setattr(torch, "empty", lambda *shape, pin_memory, **options: empty(*shape, **options))  # noqa: ARG005


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """Return a stand-in for torch.cuda, in place. Stream 0 is the compute stream."""
    fake = FakeCuda()
    fake.install(monkeypatch)
    return fake


def test_cuda_copies_wait_on_their_own_streams(fake_cuda: FakeCuda) -> None:
    """The wait for the slot is the copy stream's; the call returns when the copy's event has happened."""
    device = CudaDevice(0)
    mark = device.mark()
    target, source = torch.zeros(3), torch.ones(3)
    for copy, stream in ((device.copy, "stream 1"), (device.copy_back, "stream 2")):
        fake_cuda.log.clear()
        copy(target, source, mark)
        waited, left = f"{stream} waits for {mark.name}", f"leave {stream}"  # type: ignore[union-attr]
        assert fake_cuda.log[:2] == [f"enter {stream}", waited]
        recorded, after_it, synchronized = fake_cuda.log[2:]
        assert recorded.endswith(f" on {stream}")
        assert after_it == left
        assert synchronized == recorded.replace(f" on {stream}", " synchronize")
    assert torch.equal(target, source)
    fake_cuda.log.clear()
    device.copy(target, source, None)
    assert not any("waits" in call for call in fake_cuda.log)


def test_cuda_marks_are_reused(fake_cuda: FakeCuda) -> None:
    """A mark that was given back is the next one, recorded anew on the compute stream."""
    device = CudaDevice(0)
    first, second = device.mark(), device.mark()
    assert first is not second
    device.recycle([first])
    before_ns = device.now_ns()
    assert device.mark() is first
    assert fake_cuda.log[-1].endswith("on stream 0")
    device.synchronize()
    assert fake_cuda.log[-1] == "stream 0 synchronize"
    assert device.time_ns(first) >= before_ns - 1_000_000


@pytest.mark.usefixtures("fake_cuda")
def test_pinned_tensors_share_slabs() -> None:
    """Sixteen of them in one, aligned and apart; the next begins another."""
    device = CudaDevice(0)
    tensors = [device.host_tensor(2048, torch.int32) for _ in range(17)]
    for number, tensor in enumerate(tensors):
        tensor.fill_(number)
    assert all(bool((tensor == number).all()) for number, tensor in enumerate(tensors))
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == 2
    assert all(tensor.storage_offset() * 4 % 4096 == 0 for tensor in tensors)
    odd = [device.host_tensor(3, torch.bfloat16) for _ in range(2)]
    assert [tensor.shape for tensor in odd] == [(3,), (3,)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_copies_bytes_and_times_marks() -> None:
    """There and back through pinned memory; marks in order, between the host's times around them."""
    device = open_device("cuda:0")
    generator = torch.Generator().manual_seed(5)
    source, back = (device.host_tensor(1_000_003, torch.float32) for _ in range(2))
    assert source.is_pinned()
    source.copy_(torch.randn(1_000_003, generator=generator))
    target = device.device_tensor((1_000_003,), torch.float32)
    before_ns = device.now_ns()
    first = device.mark()
    device.copy(target, source, first)
    second = device.mark()
    device.copy_back(back, target, second)
    device.synchronize()
    assert torch.equal(source, back)
    assert before_ns - 100_000 <= device.time_ns(first) <= device.time_ns(second) <= device.now_ns() + 100_000


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("chunk_bytes", [None, 1 << 20])
def test_a_cuda_copy_waits_for_its_slot(chunk_bytes: int | None) -> None:
    """A slot that a long kernel still reads is not written before the kernel has ended."""
    device = open_device("cuda:0")
    source = device.host_tensor(1 << 20, torch.float32).fill_(1.0)
    slot = device.device_tensor((1 << 20,), torch.float32)
    torch.cuda._sleep(200_000_000)
    seen = slot.sum()
    with CopyLink(device, chunk_bytes=chunk_bytes) as link:
        link.demand(1, slot, source, device.mark())
        assert ended(link, 1) == [1]
    assert seen.item() == 0.0
    assert slot.sum().item() == float(1 << 20)


def test_both_devices_offer_the_same() -> None:
    """Whatever works on one device works on the other: both offer the same."""
    public = {name for name in dir(CudaDevice) if not name.startswith("_")}
    assert public == {name for name in dir(CpuDevice) if not name.startswith("_")}
