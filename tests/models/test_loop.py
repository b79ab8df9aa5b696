"""The training loop of all networks: what it feeds, when it stops and what it keeps."""

import numpy as np
import pytest
import torch
from toy_models import problem, toy

from mlfactory.common.windows import Windows
from mlfactory.models import loop
from mlfactory.models.registry import load_model, models

SEQUENCES = [name for name, info in models().items() if info.input != "tabular"]
EVERY_NETWORK = pytest.mark.parametrize("name", SEQUENCES)


def test_a_batch_is_the_windows_it_names() -> None:
    table = np.arange(60, dtype=np.float32).reshape(20, 3)
    windows = Windows(table, np.array([4, 9, 19]), 4)
    batches = loop.Batches(windows, torch.device("cpu"))
    got = batches.gather(torch.tensor([2, 0])).numpy()
    np.testing.assert_array_equal(got, windows.gather(np.array([2, 0])))
    np.testing.assert_array_equal(got[0], table[16:20])


@EVERY_NETWORK
def test_an_untrained_network_predicts_the_class_frequencies(name: str) -> None:
    data = problem(load_model(name))
    axis = models()[name].input == "multi_resolution"
    network = load_model(name)(**toy(name)).network(6, *([1] if axis else []))
    loop.start_at_frequencies(network, data.train.y, data.train.weight)
    p = loop.predict(network, data.test.X, axis=axis)
    counts = np.bincount(data.train.y, minlength=3) + 1
    np.testing.assert_allclose(p, np.tile(counts / counts.sum(), (len(p), 1)), rtol=1e-5)


@EVERY_NETWORK
def test_validation_rows_that_contradict_leave_the_untrained_network(name: str) -> None:
    data = problem(load_model(name))
    contrary = data.inner._replace(y=(2 - data.inner.y).astype(np.int8))
    model = load_model(name)(**toy(name)).fit(*data.train, validation=contrary)
    assert model.best_iteration_ == 0
    assert np.ptp(model.predict_proba(data.test.X), axis=0).max() < 1e-6
    assert len(model.inner_log_losses_) == 1 + toy(name)["patience"]


@EVERY_NETWORK
def test_the_best_epoch_is_the_one_that_is_kept(name: str) -> None:
    data = problem(load_model(name))
    model = load_model(name)(**toy(name)).fit(*data.train, validation=data.inner)
    losses = model.inner_log_losses_
    assert model.best_iteration_ == int(np.argmin(losses)) > 0
    p = model.predict_proba(data.inner.X)
    assert -np.log(p[np.arange(len(p)), data.inner.y]).mean() == pytest.approx(min(losses), rel=1e-4)


@EVERY_NETWORK
def test_a_fit_leaves_the_callers_random_stream_and_threads_alone(name: str) -> None:
    data = problem(load_model(name))
    torch.manual_seed(5)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    load_model(name)(**toy(name, epochs=1)).fit(*data.train)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


@EVERY_NETWORK
def test_training_and_validation_windows_share_one_resident_table(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    plain = loop.Batches.__init__
    monkeypatch.setattr(
        loop.Batches, "__init__", lambda self, *a, **k: (given.append(a[2:]), plain(self, *a, **k))[1]
    )
    data = problem(load_model(name))
    load_model(name)(**toy(name, epochs=1)).fit(*data.train, validation=data.inner)
    assert given[0] == (None,)
    assert given[1][0] is not None


def test_the_rate_warms_up_and_falls_to_nothing() -> None:
    rates = [loop.rate(step, 200) for step in range(200)]
    assert rates[0] == pytest.approx(1 / 11)
    assert np.argmax(rates) == 10
    assert max(rates) == 1
    assert (np.diff(rates[:11]) > 0).all()
    assert (np.diff(rates[10:]) < 0).all()
    assert rates[-1] < 1e-3


@pytest.mark.parametrize("most", [0.1, 100.0])
def test_gradients_are_clipped_as_torch_does_it(most: float) -> None:
    def parameters() -> list[torch.nn.Parameter]:
        generator = torch.Generator().manual_seed(0)
        out = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((7, 5), (3,), (2,))]
        for parameter in out[:2]:  # the last one takes no part in the loss
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        return out

    ours, theirs = parameters(), parameters()
    loop.clip(ours, most)
    norm = torch.nn.utils.clip_grad_norm_(theirs, most)
    assert 0.1 < norm < 100
    for mine, expected in zip(ours[:2], theirs[:2], strict=True):
        assert torch.equal(mine.grad, expected.grad)
    assert ours[2].grad is None
    clipped = torch.cat([parameter.grad.flatten() for parameter in ours[:2]]).norm()
    assert clipped.item() == pytest.approx(min(most, norm.item()), rel=1e-4)


def test_the_loss_is_the_weighted_mean_of_minus_log_probability() -> None:
    scores = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    loss = loop.log_loss(scores, torch.tensor([0, 2]), torch.tensor([3.0, 1.0]))
    assert float(loss) == pytest.approx((3 * -np.log(0.5) - np.log(0.8)) / 4)
