"""The torch face of windows: the same values as a gather, one by one, in batches and through a ``DataLoader``."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mlfactory.common.batches import gather
from mlfactory.common.errors import InputError
from mlfactory.common.multi_resolution import MultiResolutionDataset
from mlfactory.common.windows import Windows
from mlfactory.models.torch_dataset import WindowDataset

N, STEPS = 40, 5


def three() -> Windows:
    table = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    return Windows(table, np.arange(10, 10 + N), STEPS)


def four(channels: int = 4) -> MultiResolutionDataset:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(90, channels)).astype(np.float32)
    ends = np.stack([np.arange(10, 10 + N), 60 + np.arange(N) // 2], axis=1).astype(np.int32)
    return MultiResolutionDataset(
        table, ends, rng.uniform(0.5, 2, ends.shape).astype(np.float32), STEPS, (1, 5)
    )


@pytest.mark.parametrize("channels", [4, 5, 6])
def test_the_compiled_batch_is_the_gather_bit_for_bit(channels: int) -> None:
    data = four(channels)
    which = np.array([3, 0, 39, 3])
    np.testing.assert_array_equal(gather(data, which), data.gather(which))
    out = np.full((4, 2, STEPS, channels), np.nan, np.float32)
    assert gather(data, which, out) is out
    np.testing.assert_array_equal(out, data.gather(which))
    assert gather(data, which[:0]).shape == (0, 2, STEPS, channels)


def test_a_batch_outside_the_windows_or_the_array_is_refused() -> None:
    with pytest.raises(IndexError, match="windows 3 to 40 are not all within 0 to 39"):
        gather(four(), np.array([3, 40]))
    with pytest.raises(ValueError, match=r"contiguous and of shape \(2, 2, 5, 4\)"):
        gather(four(), np.array([3, 4]), np.zeros((2, 2, 4, 5), np.float32).swapaxes(2, 3))


@pytest.mark.parametrize("windows", [three(), four()], ids=["3D", "4D"])
def test_items_and_batches_of_a_loader_are_gathers(windows: Windows | MultiResolutionDataset) -> None:
    rng = np.random.default_rng(1)
    y, weight = rng.integers(0, 3, N), rng.random(N)
    data = WindowDataset(windows, y, weight)
    assert len(data) == N
    x, label, share = data[7]
    np.testing.assert_array_equal(x.numpy(), windows.gather(np.array([7]))[0])
    assert (label.item(), label.dtype) == (y[7], torch.int64)
    assert share.item() == pytest.approx(weight[7])
    assert torch.equal(data[-1][0], data[N - 1][0])
    order = torch.Generator().manual_seed(2)
    seen = [
        (batch.shape, batch, labels)
        for batch, labels, _ in DataLoader(data, 16, shuffle=True, generator=order)
    ]
    assert [shape[0] for shape, _, _ in seen] == [16, 16, 8]
    assert sorted(torch.cat([labels for _, _, labels in seen]).tolist()) == sorted(y.tolist())
    whole = torch.cat([batch for batch, _, _ in DataLoader(data, 16)])
    np.testing.assert_array_equal(whole.numpy(), windows.gather(np.arange(N)))


def test_weights_are_one_where_none_are_given() -> None:
    assert (WindowDataset(three(), np.zeros(N)).batch(np.arange(3))[2] == 1).all()


def test_items_that_are_not_there_and_lengths_that_differ_are_refused() -> None:
    with pytest.raises(IndexError, match="items 40 to 40 of 40"):
        WindowDataset(three(), np.zeros(N))[N]
    with pytest.raises(InputError, match="40 windows, 39 classes and 40 weights"):
        WindowDataset(three(), np.zeros(N - 1))
