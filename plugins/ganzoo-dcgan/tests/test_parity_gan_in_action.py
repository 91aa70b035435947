"""`gan_in_action` and `gan` against the Keras networks of the book, plainly transcribed; padding against numpy."""

from __future__ import annotations

from math import ceil, sqrt

import numpy as np
import pytest
import torch
from ganzoo_dcgan.blocks import DownBlock, UpBlock
from literal import gan, gan_in_action
from literal.comparison import assert_close, build, copy_weights, count, info, shapes
from torch import nn

MNIST = info(1, 28)


def test_generator_computes_the_same() -> None:
    torch.manual_seed(0)
    literal = gan_in_action.Generator()
    for norm in literal.norms:
        norm.gamma.normal_(1.0, 0.2)
        norm.beta.normal_(0.0, 0.2)
    for _, bias in (literal.dense, *literal.up):
        bias.normal_(0.0, 0.1)
    generator, _ = build("gan_in_action", MNIST, {}, {})
    copy_weights(gan_in_action.generator_as_torch(literal), generator)
    latents = torch.randn(4, 100)
    with torch.no_grad():
        for _ in range(2):
            assert_close(generator(latents), literal(latents, training=True).permute(0, 3, 1, 2))
        generator.eval()
        assert_close(generator(latents), literal(latents, training=False).permute(0, 3, 1, 2))
    norms = [layer for layer in generator.modules() if isinstance(layer, nn.BatchNorm2d)]
    for ours, theirs in zip(norms, literal.norms, strict=True):
        assert_close(ours.running_mean, theirs.moving_mean)
        assert_close(ours.running_var, theirs.moving_variance)


def test_discriminator_computes_the_same() -> None:
    torch.manual_seed(1)
    literal = gan_in_action.Discriminator()
    for _, bias in (*literal.down, literal.dense):
        bias.normal_(0.0, 0.1)
    _, discriminator = build("gan_in_action", MNIST, {}, {})
    copy_weights(gan_in_action.discriminator_as_torch(literal), discriminator)
    images = torch.rand(4, 28, 28, 1) * 2 - 1
    with torch.no_grad():
        assert_close(discriminator(images.permute(0, 3, 1, 2)).sigmoid(), literal(images).flatten())


def test_discriminator_with_batch_norm_computes_the_same_as_the_book_s_notebook() -> None:
    """Batch norm between the second and the third convolution and their LeakyReLU, and not after the first."""
    torch.manual_seed(5)
    literal = gan_in_action.Discriminator(normed=True)
    for norm in literal.norms:
        norm.gamma.normal_(1.0, 0.2)
        norm.beta.normal_(0.0, 0.2)
    for _, bias in (*literal.down, literal.dense):
        bias.normal_(0.0, 0.1)
    _, discriminator = build("gan_in_action", MNIST, {}, {"norm": "batch"})
    plain = [nn.LeakyReLU]
    normed = [nn.BatchNorm2d, nn.LeakyReLU]
    assert [[type(layer) for layer in block][1:] for block in discriminator.blocks] == [plain, normed, normed]
    norms = [layer for layer in discriminator.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert [(norm.num_features, norm.eps, norm.momentum) for norm in norms] == [(64, 1e-3, 0.01), (128, 1e-3, 0.01)]
    copy_weights(gan_in_action.discriminator_as_torch(literal), discriminator)
    images = torch.rand(4, 28, 28, 1) * 2 - 1
    with torch.no_grad():
        for training in (True, False):
            discriminator.train(training)
            ours = discriminator(images.permute(0, 3, 1, 2)).sigmoid()
            assert ours.shape == (4,)
            assert_close(ours, literal(images, training).flatten())
    assert discriminator.config.mixes_batch
    assert not build("gan_in_action", MNIST, {}, {})[1].config.mixes_batch


def test_figures() -> None:
    """The counts that Keras' `summary()` gives, the moving statistics aside."""
    generator, discriminator = build("gan_in_action", MNIST, {}, {})
    assert count(generator) == 1_266_944 + (295_040 + 256) + (73_792 + 128) + 577
    assert count(discriminator) == 320 + 18_496 + 73_856 + 2_049
    assert shapes(generator, torch.randn(2, 100)) == [(256, 7, 7), (128, 14, 14), (64, 14, 14), (1, 28, 28)]
    images = torch.randn(2, 1, 28, 28)
    maps = [(32, 14, 14), (64, 7, 7), (128, 4, 4)]
    assert shapes(discriminator, images) == maps == [tuple(m.shape[1:]) for m in discriminator.features(images)]


@pytest.mark.parametrize("name", ["gan_in_action", "gan"])
def test_initial_weights(name: str) -> None:
    """Uniform up to √(6 / (fan in + fan out)), biases 0, norms as Keras starts them."""
    torch.manual_seed(2)
    for network in build(name, MNIST, {}, {}):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                taps = layer.weight[0, 0].numel() if layer.weight.ndim == 4 else 1
                limit = sqrt(6 / (taps * (layer.weight.shape[0] + layer.weight.shape[1])))
                assert 0.95 * limit < layer.weight.abs().max() <= limit
                error = 5 * limit / sqrt(3 * layer.weight.numel())
                assert abs(layer.weight.mean()) < error
                assert abs(layer.weight.std() - limit / sqrt(3)) < error
                assert not layer.bias.any()
            elif isinstance(layer, nn.BatchNorm2d):
                assert (layer.weight == 1).all()
                assert not layer.bias.any()
                assert (layer.eps, layer.momentum) == (1e-3, 0.01)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [3, 4, 5])
@pytest.mark.parametrize(("height", "width"), [(7, 7), (14, 9), (6, 5)])
def test_same_convolution_follows_its_definition(height: int, width: int, kernel: int, stride: int) -> None:
    """Output pixel (r, c) is Σ input(r · stride + i − top, c · stride + j − left) · weight(i, j), in numpy."""
    rng = np.random.default_rng(0)
    block = DownBlock(1, 1, kernel_size=kernel, stride=stride, padding="same", norm=None, activation=None)
    weight, image = rng.normal(size=(kernel, kernel)), rng.normal(size=(height, width))
    set_weight(block, weight)
    rows, columns = ceil(height / stride), ceil(width / stride)
    top = max(0, (rows - 1) * stride + kernel - height) // 2
    left = max(0, (columns - 1) * stride + kernel - width) // 2
    expected = np.zeros((rows, columns))
    for r in range(rows):
        for c in range(columns):
            for i in range(kernel):
                for j in range(kernel):
                    y, x = r * stride + i - top, c * stride + j - left
                    if 0 <= y < height and 0 <= x < width:
                        expected[r, c] += image[y, x] * weight[i, j]
    np.testing.assert_allclose(applied(block, image), expected, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [3, 4, 5])
@pytest.mark.parametrize(("height", "width"), [(7, 7), (4, 5)])
def test_same_transposed_convolution_follows_its_definition(height: int, width: int, kernel: int, stride: int) -> None:
    """The matrix of the convolution from stride · H × stride · W pixels, transposed, in numpy."""
    rng = np.random.default_rng(1)
    block = UpBlock(1, 1, kernel_size=kernel, stride=stride, padding="same", norm=None, activation=None)
    weight, image = rng.normal(size=(kernel, kernel)), rng.normal(size=(height, width))
    set_weight(block, weight)
    full = (height * stride, width * stride)
    top = max(0, (height - 1) * stride + kernel - full[0]) // 2
    left = max(0, (width - 1) * stride + kernel - full[1]) // 2
    matrix = np.zeros((height * width, full[0] * full[1]))
    for r in range(height):
        for c in range(width):
            for i in range(kernel):
                for j in range(kernel):
                    y, x = r * stride + i - top, c * stride + j - left
                    if 0 <= y < full[0] and 0 <= x < full[1]:
                        matrix[r * width + c, y * full[1] + x] += weight[i, j]
    expected = (matrix.T @ image.ravel()).reshape(full)
    np.testing.assert_allclose(applied(block, image), expected, atol=1e-5)


def test_what_a_transposed_convolution_returns_has_no_gaps_in_memory() -> None:
    """Batch norm takes ten times as long on a view with gaps."""
    images = torch.randn(2, 4, 6, 5)
    for order in (torch.contiguous_format, torch.channels_last):
        layer = UpBlock(4, 3, kernel_size=3, padding="same").to(memory_format=order)
        assert layer[0](images.contiguous(memory_format=order)).is_contiguous(memory_format=order)


def test_same_padding_is_what_torch_cannot_say_in_numbers() -> None:
    torch.manual_seed(3)
    image = torch.randn(1, 1, 7, 7)
    same = UpBlock(1, 1, kernel_size=3, padding="same", norm=None, activation=None)
    numbers = UpBlock(1, 1, kernel_size=3, padding=1, output_padding=1, norm=None, activation=None)
    numbers.load_state_dict(same.state_dict())
    assert same(image).shape == numbers(image).shape
    assert not torch.allclose(same(image), numbers(image), atol=0.01)
    full = nn.functional.conv_transpose2d(image, same[0].weight, stride=2)
    torch.testing.assert_close(same(image), full[:, :, :-1, :-1])


def test_a_kernel_smaller_than_the_stride_is_refused() -> None:
    with pytest.raises(ValueError, match="a kernel of 2 does not reach over a stride of 3"):
        UpBlock(1, 1, kernel_size=2, stride=3, padding="same")


def test_plain_gan_computes_the_same() -> None:
    torch.manual_seed(4)
    generator, discriminator = build("gan", MNIST, {}, {})
    gen, disc = gan.generator(), gan.discriminator()
    copy_weights(gen.parameters(), generator)
    copy_weights(disc.parameters(), discriminator)
    latents, images = torch.randn(5, 100), torch.rand(5, 1, 28, 28) * 2 - 1
    with torch.no_grad():
        assert_close(generator(latents), gen(latents))
        assert_close(discriminator(images).sigmoid(), disc(images).flatten())
    assert (count(generator), count(discriminator)) == (114_064, 100_609) == (count(gen), count(disc))
    assert [tuple(units.shape) for units in discriminator.features(images)] == [(5, 128, 1, 1)]


def test_plain_gan_of_several_hidden_layers() -> None:
    hidden = {"hidden": (32, 16)}
    generator, discriminator = build("gan", info(3, 10), hidden, hidden)
    assert shapes(generator, torch.randn(2, 100)) == [(32,), (16,), (300,), (3, 10, 10)]
    assert [units.shape[1] for units in discriminator.features(torch.randn(2, 3, 10, 10))] == [32, 16]


def set_weight(block: nn.Sequential, weight: np.ndarray) -> None:
    with torch.no_grad():
        block[0].weight.copy_(torch.from_numpy(weight)[None, None])


def applied(block: nn.Module, image: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return block(torch.from_numpy(image).float()[None, None])[0, 0].numpy()
