"""What each network's paper promises: its parameters, counted by hand, and the property that it is known for."""

from typing import Any

import pytest
import torch
from torch import nn

from mlfactory.common.errors import InputError
from mlfactory.models.cnn.inceptiontime import InceptionTime
from mlfactory.models.cnn.resnet1d import ResNet1D
from mlfactory.models.layers import CausalConv1d, EncoderLayer, SteadyConv1d, TokenBatchNorm, standardise
from mlfactory.models.neural.gru import GRU
from mlfactory.models.neural.lstm import LSTM
from mlfactory.models.neural.nbeats import NBeats, seasonality, trend
from mlfactory.models.neural.tcn import TCN
from mlfactory.models.neural.transformer import Transformer, positions
from mlfactory.models.transformer.itransformer import ITransformer
from mlfactory.models.transformer.patchtst import PatchTST
from mlfactory.models.transformer.tft import TFT


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def count(network: nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


def linear(before: int, after: int) -> int:
    return before * after + after


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape)


# --- recurrent -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "gates"), [(LSTM, 4), (GRU, 3)])
@pytest.mark.parametrize(("hidden", "layers", "features"), [(8, 1, 3), (16, 2, 5)])
def test_a_recurrent_network_has_the_parameters_of_its_equations(
    kind: Any, gates: int, hidden: int, layers: int, features: int
) -> None:
    first = gates * hidden * (features + hidden + 2)  # input and recurrent weights, and two biases
    later = (layers - 1) * gates * hidden * (hidden + hidden + 2)
    network = kind(hidden=hidden, layers=layers, steps=10).network(features)
    assert count(network) == first + later + 2 * hidden + linear(hidden, 3)


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_a_recurrent_state_knows_the_order_of_the_past_and_nothing_of_the_future(kind: Any) -> None:
    network = kind(hidden=8, layers=2, steps=10).network(3).eval()
    x = normal(2, 10, 3)
    changed = x.clone()
    changed[:, 6:] = 9.0
    torch.testing.assert_close(network.states(changed)[:, :6], network.states(x)[:, :6], rtol=0, atol=0)
    assert not torch.allclose(network.states(x.flip(1))[:, -1], network.states(x)[:, -1])


# --- TCN -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("hidden", "kernel", "blocks", "features"), [(8, 3, 2, 8), (6, 2, 3, 4)])
def test_a_tcn_has_the_parameters_of_its_blocks(hidden: int, kernel: int, blocks: int, features: int) -> None:
    total, before = linear(hidden, 3), features
    for _ in range(blocks):
        for inputs in (before, hidden):  # direction, its length per output channel, bias
            total += inputs * hidden * kernel + hidden + hidden
        total += linear(before, hidden) if before != hidden else 0
        before = hidden
    assert count(TCN(hidden=hidden, kernel=kernel, blocks=blocks, steps=16).network(features)) == total


def test_no_state_of_a_tcn_sees_a_later_step() -> None:
    network = TCN(hidden=8, kernel=3, steps=32).network(4).eval()
    x = normal(2, 32, 4)
    changed = x.clone()
    changed[:, 20:] = 9.0
    torch.testing.assert_close(network.states(changed)[:, :20], network.states(x)[:, :20], rtol=0, atol=0)
    assert not torch.allclose(network.states(changed)[:, 20:], network.states(x)[:, 20:])


@pytest.mark.parametrize("steps", [8, 60])
def test_the_last_state_of_a_tcn_sees_the_whole_window_and_not_more_than_its_field(steps: int) -> None:
    model = TCN(hidden=4, kernel=3, steps=steps)
    assert model.receptive_field >= steps
    assert TCN(kernel=3, blocks=2, steps=steps).receptive_field == 1 + 2 * 2 * (1 + 2)
    narrow = TCN(hidden=4, kernel=2, blocks=2, steps=8).network(1).eval()
    x = normal(1, 8, 1).requires_grad_()
    narrow.states(x)[0, -1].sum().backward()
    assert x.grad is not None
    assert (x.grad[0, :1, 0] == 0).all()  # a field of 7 of the 8 steps
    assert (x.grad[0, 1:, 0] != 0).any()


def test_a_causal_convolution_reaches_back_and_a_centred_one_both_ways() -> None:
    for kind, reach in ((CausalConv1d, {2, 3, 4}), (SteadyConv1d, {3, 4, 5})):
        layer = kind(1, 1, 3)
        x = normal(1, 1, 8).requires_grad_()
        layer(x)[0, 0, 4].backward()
        assert x.grad is not None
        assert set(torch.nonzero(x.grad[0, 0]).flatten().tolist()) == reach


# --- transformer ---------------------------------------------------------------------------------------------


def encoder_layer(width: int, expansion: int) -> int:
    attention = 3 * width * width + width * width
    feed_forward = linear(width, expansion * width) + linear(expansion * width, width)
    return attention + feed_forward + 2 * 2 * width


@pytest.mark.parametrize(("hidden", "layers", "features"), [(8, 1, 3), (16, 2, 5)])
def test_a_transformer_has_the_parameters_of_its_layers(hidden: int, layers: int, features: int) -> None:
    network = Transformer(hidden=hidden, layers=layers, heads=2, expansion=4, steps=10).network(features)
    assert count(network) == linear(features, hidden) + layers * encoder_layer(hidden, 4) + linear(hidden, 3)


def test_positions_are_sines_and_cosines_of_falling_frequency() -> None:
    table = positions(7, 4)
    assert table.shape == (7, 4)
    torch.testing.assert_close(table[0], torch.tensor([0.0, 1.0, 0.0, 1.0]))
    step = torch.tensor(3.0)
    expected = torch.stack([step.sin(), step.cos(), (step / 100).sin(), (step / 100).cos()])
    torch.testing.assert_close(table[3], expected)


def test_attention_alone_has_no_order_and_positions_give_it_one() -> None:
    layer = EncoderLayer(8, 2, 2, 0.0).eval()
    x, order = normal(2, 6, 8), torch.randperm(6)
    torch.testing.assert_close(layer(x[:, order]), layer(x)[:, order])
    network = Transformer(hidden=8, heads=2, steps=6).network(3).eval()
    window = normal(2, 6, 3)
    assert not torch.allclose(network.encode(window[:, order]), network.encode(window)[:, order], atol=1e-3)


# --- N-BEATS -------------------------------------------------------------------------------------------------


def test_an_nbeats_has_the_parameters_of_its_blocks() -> None:
    model = NBeats(hidden=6, layers=3, blocks=2, series=4, forecast=8, degree=2, shapes=5, steps=10)
    connected = linear(4 * 10, 6) + 2 * linear(6, 6)
    trend_block = connected + 6 * 4 * 3 * 2
    season_block = connected + 6 * 4 * (1 + 2 * 4) + 6 * 4 * (1 + 2 * 3)
    generic_block = connected + 6 * 4 * 5 * 2 + linear(5, 10) + linear(5, 8)
    total = linear(7, 4) + trend_block + season_block + 2 * generic_block + linear(4 * 8, 3)
    assert count(model.network(7)) == total


def test_the_backcasts_of_nbeats_and_what_is_left_add_up_to_the_window() -> None:
    network = NBeats(hidden=8, layers=2, blocks=2, steps=10).network(3).eval()
    series, backcasts, forecasts, left = network.decompose(normal(4, 10, 3))
    assert len(backcasts) == len(forecasts) == 6
    torch.testing.assert_close(torch.stack(backcasts).sum(0) + left, series)
    assert all(part.abs().max() > 0 for part in backcasts)


def test_the_bases_of_nbeats_are_polynomials_and_a_fourier_series() -> None:
    back, fore = trend(4, 2, 2)
    torch.testing.assert_close(
        back, torch.tensor([[1, 1, 1, 1], [0, 0.25, 0.5, 0.75], [0, 1 / 16, 1 / 4, 9 / 16]])
    )
    assert fore.shape == (3, 2)
    waves, _ = seasonality(8, 4)
    assert waves.shape == (1 + 2 * 3, 8)
    product = waves @ waves.T  # whole periods are orthogonal
    torch.testing.assert_close(product, torch.diag(product.diagonal()), atol=1e-5, rtol=0)


# --- convolutional -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("filters", "features"), [(4, 3), (8, 5)])
def test_an_inceptiontime_has_the_parameters_of_six_blocks_and_two_shortcuts(
    filters: int, features: int
) -> None:
    width, bottleneck, kernels = 4 * filters, 32, (10, 20, 40)
    total = linear(width, 3)
    for channels in [features] + [width] * 5:
        total += channels * bottleneck + sum(bottleneck * filters * k for k in kernels)
        total += channels * filters + 2 * width
    total += (features * width + 2 * width) + (width * width + 2 * width)
    assert count(InceptionTime(filters=filters, steps=60).network(features)) == total


@pytest.mark.parametrize(("filters", "features"), [(4, 3), (8, 5)])
def test_a_resnet_has_the_parameters_of_three_blocks(filters: int, features: int) -> None:
    total, before = linear(2 * filters, 3), features
    for width in (filters, 2 * filters, 2 * filters):
        inputs = before
        for kernel in (8, 5, 3):
            total += inputs * width * kernel + width + 2 * width
            inputs = width
        total += (linear(before, width) if before != width else 0) + 2 * width
        before = width
    assert count(ResNet1D(filters=filters, steps=60).network(features)) == total


@pytest.mark.parametrize("model", [InceptionTime(filters=4, steps=60), ResNet1D(filters=4, steps=60)])
def test_a_convolutional_network_keeps_every_step_and_averages_them(model: Any) -> None:
    network = model.network(3).eval()
    encoded = network.encode(normal(2, 60, 3))
    assert encoded.shape[::2] == (2, 60)
    constant = network.encode(torch.ones(1, 60, 3))
    torch.testing.assert_close(network(torch.ones(1, 60, 3)), network.head(constant.mean(dim=2)))


# --- PatchTST ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "timeframes"), [(4, 1), (5, 3)])
def test_a_patchtst_has_the_parameters_of_one_channel_whatever_their_number(
    channels: int, timeframes: int
) -> None:
    model = PatchTST(hidden=8, layers=2, heads=2, expansion=2, patch=6, stride=3, steps=24)
    assert model.patches == (24 - 6) // 3 + 2
    shared = linear(6, 8) + model.patches * 8 + timeframes * 8 + 2 * encoder_layer(8, 2)
    fusion = linear(channels * 8, 1) + linear(channels * 8, 3)
    assert count(model.network(channels, timeframes)) == shared + fusion


def test_the_encoder_of_patchtst_treats_every_channel_alike_and_by_itself() -> None:
    network = PatchTST(hidden=8, heads=2, patch=4, stride=2, steps=12).network(5, 2).eval()
    x, order = normal(3, 2, 12, 5), torch.randperm(5)
    torch.testing.assert_close(network.encode(x[..., order]), network.encode(x)[:, :, order])
    changed = x.clone()
    changed[..., 1] = normal(3, 2, 12)
    others = [0, 2, 3, 4]
    torch.testing.assert_close(network.encode(changed)[:, :, others], network.encode(x)[:, :, others])


def test_instance_normalisation_takes_level_and_scale_of_a_channel_away() -> None:
    network = PatchTST(hidden=8, heads=2, patch=4, stride=2, steps=12).network(2, 1).eval()
    x = normal(3, 1, 12, 2)
    moved = x * torch.tensor([3.0, 0.5]) + torch.tensor([7.0, -2.0])
    torch.testing.assert_close(network.encode(moved), network.encode(x), atol=1e-4, rtol=1e-4)
    assert (standardise(torch.full((1, 4), 5.0), dim=-1) == 0).all()


def test_the_weights_of_timeframes_sum_to_one() -> None:
    network = PatchTST(hidden=8, heads=2, patch=4, stride=2, steps=12).network(4, 3).eval()
    told = network.explain(normal(5, 3, 12, 4))["timeframe weights"]
    assert told.shape == (5, 3)
    torch.testing.assert_close(told.sum(dim=1), torch.ones(5))


def test_batch_normalisation_of_tokens_has_one_mean_per_width() -> None:
    out = TokenBatchNorm(4).train()(3 + 2 * normal(8, 6, 4))
    torch.testing.assert_close(out.mean(dim=(0, 1)), torch.zeros(4), atol=1e-5, rtol=0)


# --- iTransformer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "timeframes"), [(4, 1), (5, 3)])
def test_an_itransformer_has_the_parameters_of_its_layers(channels: int, timeframes: int) -> None:
    network = ITransformer(hidden=8, layers=2, heads=2, expansion=2, steps=24).network(channels, timeframes)
    assert count(network) == linear(24, 8) + 2 * encoder_layer(8, 2) + linear(channels * timeframes * 8, 3)


def test_the_encoder_of_itransformer_has_no_order_of_variates_and_relates_them() -> None:
    network = ITransformer(hidden=8, heads=2, steps=12).network(5, 2).eval()
    x, order = normal(3, 10, 12), torch.randperm(10)
    torch.testing.assert_close(network.encode(x[:, order]), network.encode(x)[:, order])
    changed = x.clone()
    changed[:, 1] = 9.0
    assert not torch.allclose(network.encode(changed)[:, 0], network.encode(x)[:, 0])


def test_every_channel_of_every_timeframe_is_a_variate() -> None:
    network = ITransformer(hidden=8, heads=2, steps=12).network(2, 3).eval()
    x = normal(1, 3, 12, 2)
    series = torch.stack([x[:, k, :, c] for k in range(3) for c in range(2)], dim=1)
    torch.testing.assert_close(network(x), network.head(network.encode(series).flatten(1)))


# --- TFT -----------------------------------------------------------------------------------------------------


def gated_skip(width: int) -> int:
    return linear(width, 2 * width) + 2 * width


def gated_residual(before: int, hidden: int, after: int) -> int:
    skip = linear(before, after) if before != after else 0
    return linear(before, hidden) + linear(hidden, after) + skip + gated_skip(after)


@pytest.mark.parametrize(("channels", "timeframes"), [(4, 1), (3, 2)])
def test_a_tft_has_the_parameters_of_its_parts(channels: int, timeframes: int) -> None:
    d, heads, variables = 8, 2, channels * timeframes
    selection = variables * (2 * d + gated_residual(d, d, d)) + gated_residual(variables * d, d, variables)
    attention = 2 * d * d + d * (d // heads) + (d // heads) * d
    lstm = 4 * d * (d + d + 2)
    residuals = 2 * gated_residual(d, d, d) + 3 * gated_skip(d)
    heads_out = linear(d, 3) + linear(d, 1) + linear(d, 2)
    network = TFT(hidden=d, heads=heads, steps=10).network(channels, timeframes)
    assert count(network) == selection + attention + lstm + residuals + heads_out


@pytest.fixture
def tft() -> Any:
    return TFT(hidden=8, heads=2, steps=10).network(3, 2).eval()


def test_what_a_tft_says_of_variables_and_steps_sums_to_one(tft: nn.Module) -> None:
    told = tft.explain(normal(5, 2, 10, 3))
    assert {name: tuple(values.shape) for name, values in told.items()} == {
        "variable weights": (5, 6),
        "attention to steps": (5, 10),
    }
    for values in told.values():
        assert (values >= 0).all()
        torch.testing.assert_close(values.sum(dim=1), torch.ones(5))


def test_no_step_of_a_tft_attends_to_a_later_one(tft: nn.Module) -> None:
    enriched = normal(2, 10, 8)
    mixed, weights = tft.attention(enriched)
    assert (weights.triu(1) == 0).all()
    changed = enriched.clone()
    changed[:, 7:] = 9.0
    torch.testing.assert_close(tft.attention(changed)[0][:, :7], mixed[:, :7])


def test_the_heads_of_interpretable_attention_share_their_values(tft: nn.Module) -> None:
    x = normal(2, 10, 8)
    mixed, weights = tft.attention(x)
    torch.testing.assert_close(mixed, tft.attention.out(weights @ tft.attention.value(x)))


def test_quantiles_of_a_tft_never_cross(tft: nn.Module) -> None:
    for size in (0.1, 1.0, 100.0):
        assert (tft.quantiles(size * normal(1000, 8)).diff(dim=1) >= 0).all()


def test_the_pinball_loss_finds_the_quantiles_of_what_came() -> None:
    network = TFT(hidden=4, heads=2, steps=4, dropout=0.0, quantile_weight=1.0).network(1, 1)
    x, returns = torch.zeros(2000, 1, 4, 1), normal(2000)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(200):
        network(x)
        optimiser.zero_grad()
        network.auxiliary_loss(returns).backward()
        optimiser.step()
    found = network.quantiles(network.decode(x[:1])[0])[0]
    torch.testing.assert_close(
        found, torch.quantile(returns, torch.tensor([0.1, 0.5, 0.9])), atol=0.08, rtol=0
    )


def test_the_pinball_loss_by_hand() -> None:
    network = (
        TFT(hidden=4, heads=2, steps=4, quantiles=(0.25, 0.75), quantile_weight=2.0).network(1, 1).eval()
    )
    with torch.no_grad():
        for layer in (network.lowest, network.gaps):
            layer.weight.zero_()
        network.lowest.bias.fill_(-1.0)
        network.gaps.bias.fill_(float(torch.log(torch.expm1(torch.tensor(2.0)))))  # quantiles -1 and 1
    network(torch.zeros(1, 1, 4, 1))
    # a return of 3 is 4 above -1 and 2 above 1: (0.25 * 4 + 0.75 * 2) / 2, twice
    assert float(network.auxiliary_loss(torch.tensor([3.0])).detach()) == pytest.approx(2.5, rel=1e-5)


# --- sizes that do not fit -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InceptionTime(steps=20), "windows have 20 steps, shorter than the kernel of 40"),
        (lambda: ResNet1D(steps=5), "windows have 5 steps, shorter than the kernel of 8"),
        (lambda: TCN(steps=2, kernel=3), "windows have 2 steps, shorter than the kernel of 3"),
        (lambda: PatchTST(steps=10), "windows have 10 steps, shorter than the patch of 16"),
        (lambda: Transformer(hidden=6), "hidden is 6: expected a multiple of heads, which is 4"),
        (lambda: ITransformer(hidden=6), "hidden is 6: expected a multiple of heads, which is 4"),
        (lambda: TFT(hidden=6), "hidden is 6: expected a multiple of heads, which is 4"),
        (lambda: TFT(quantiles=(0.5, 0.1)), r"quantiles are \(0.5, 0.1\): expected ascending"),
    ],
)
def test_sizes_that_do_not_fit_together_are_refused(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
