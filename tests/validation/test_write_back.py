"""Evicted experts are copied back in order, all of them; a copy that fails is told."""

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor

from validation.runtime.device import CpuDevice, Mark
from validation.runtime.write_back import WriteBack


class Noting(CpuDevice):
    """Notes what is copied back, and up to where the compute stream had to be."""

    def __init__(self) -> None:
        super().__init__()
        self.copied: list[tuple[list[float], Mark | None]] = []

    def copy_back(self, target: Tensor, source: Tensor, after: Mark | None) -> None:
        """Copy, then note what has arrived; a negative number fails."""
        super().copy_back(target, source, after)
        if float(target[0]) < 0:
            raise OSError("no bytes")
        self.copied.append((target.tolist(), after))


def test_all_is_copied_in_order_before_the_end() -> None:
    """Experts of two sizes, through one scratch buffer."""
    device = Noting()
    with WriteBack(device, scratch=torch.empty(32, dtype=torch.uint8)) as write_back:
        write_back.copy(torch.tensor([1.0, 2.0], dtype=torch.float64), 5)
        write_back.copy(torch.tensor([3, 4, 5], dtype=torch.uint8), None)
        write_back.copy(torch.arange(4.0, dtype=torch.float64), 7)
    assert device.copied == [([1.0, 2.0], 5), ([3, 4, 5], None), ([0.0, 1.0, 2.0, 3.0], 7)]
    assert write_back.num_bytes == 16 + 3 + 32
    assert write_back.busy_ns > 0


def test_a_copy_that_fails_is_told_at_the_end() -> None:
    """Unless another error is on its way out."""

    def fail(other: Exception | None) -> None:
        with WriteBack(Noting(), scratch=torch.empty(8, dtype=torch.uint8)) as write_back:
            write_back.copy(torch.tensor([-1.0], dtype=torch.float64), None)
            if other is not None:
                raise other

    with pytest.raises(RuntimeError, match="could not be copied back"):
        fail(None)
    with pytest.raises(KeyError):
        fail(KeyError())
