"""Filters: guided backpropagation against a computation by hand, dropped maps, hooks that leave no trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from ganzoo_analysis import network_analysis
from ganzoo_analysis.filters import (
    discriminator_layers,
    dropping,
    filter_pictures,
    generator_layers,
    guided_gradients,
)
from labeled_values import train_values
from torch import Tensor, nn

from ganzoo import api
from ganzoo.components.network import Discriminator, Generator
from ganzoo.components.options import DiscriminatorConfig, GeneratorConfig
from ganzoo.components.spec import DatasetInfo, ImageSpec
from ganzoo.errors import RequestError
from ganzoo.sampling.trained_run import TrainedRun

FACTS = DatasetInfo(ImageSpec(1, 4, 4))


class TwoLayers(Discriminator):
    """Two 1×1 convolutions, each with a rectifier that overwrites its input."""

    def __init__(self, rectifier: type[nn.Module] = nn.LeakyReLU) -> None:
        super().__init__(DiscriminatorConfig(), info=FACTS)
        torch.manual_seed(3)
        options = {"inplace": True} if rectifier in (nn.ReLU, nn.LeakyReLU) else {}
        self.first = nn.Sequential(nn.Conv2d(1, 3, 1), rectifier(**options))
        self.second = nn.Sequential(nn.Conv2d(3, 2, 1), rectifier(**options))

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images)[-1].sum((1, 2, 3))

    def features(self, images: Tensor) -> list[Tensor]:
        first = self.first(images)
        return [first, self.second(first)]


class Wild(Generator):
    """A generator whose layers are not laid out in blocks, reached in another order than they are declared."""

    def __init__(self) -> None:
        super().__init__(GeneratorConfig(latent_dim=2), info=FACTS)
        self.image = nn.ConvTranspose2d(3, 1, 2, 2)
        self.start = nn.ConvTranspose2d(2, 3, 2)

    def forward(self, latents: Tensor) -> Tensor:
        return torch.tanh(self.image(F.relu(self.start(latents[:, :, None, None]))))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tables_in: Callable[[Path], dict]) -> TrainedRun:
    return api.run(tables_in(tmp_path_factory.mktemp("trained")), ["run.steps=2"])


def hooks(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


@pytest.mark.parametrize("rectifier", [nn.ReLU, nn.LeakyReLU])
@pytest.mark.parametrize("feature", [0, 1])
def test_guided_backpropagation_by_hand(rectifier: type[nn.Module], feature: int):
    network = TwoLayers(rectifier).eval()
    images = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    slope = 0.01 if rectifier is nn.LeakyReLU else 0.0
    one, two = network.first[0], network.second[0]
    expected = torch.zeros_like(images)
    for number, image in enumerate(images[:, 0]):
        # 1×1 convolutions: each pixel is a network of its own.
        before_one = one.weight[:, 0, 0, 0] * image[..., None] + one.bias
        before_two = F.leaky_relu(before_one, slope) @ two.weight[:, :, 0, 0].t() + two.bias
        place = divmod(int(F.leaky_relu(before_two, slope)[..., feature].argmax()), 4)
        signal = (before_two[place][feature] > 0).float() * two.weight[feature, :, 0, 0]
        signal = signal.clamp(min=0) * (before_one[place] > 0)
        expected[number, 0][place] = (signal * one.weight[:, 0, 0, 0]).sum()
    assert expected.abs().max() > 0
    torch.testing.assert_close(guided_gradients(network, images, 1, feature), expected.detach())
    assert hooks(network) == 0
    assert all(parameter.grad is None for parameter in network.parameters())


def test_features_may_be_vectors():
    class Pooled(TwoLayers):
        def features(self, images: torch.Tensor) -> list[torch.Tensor]:
            return [maps.mean((2, 3)) for maps in super().features(images)]

    network = Pooled(nn.ReLU).eval()
    network.load_state_dict({name: each.abs() for name, each in network.state_dict().items()})
    gradients = guided_gradients(network, torch.ones(2, 1, 4, 4), 1, 0)
    weight = (network.second[0].weight[0, :, 0, 0] * network.first[0].weight[:, 0, 0, 0]).sum().item() / 16
    torch.testing.assert_close(gradients, torch.full((2, 1, 4, 4), weight))


def test_nothing_to_guide_through():
    with pytest.raises(RequestError, match=r"TwoLayers has no nn\.ReLU or nn\.LeakyReLU modules"):
        guided_gradients(TwoLayers(nn.Tanh), torch.zeros(1, 1, 4, 4), 1, 0)


def test_layers_in_the_order_they_run():
    generator = Wild()
    assert [layer.convolution for layer in generator_layers(generator)] == [generator.start, generator.image]
    assert generator_layers(generator)[0].output is generator.start
    discriminator = TwoLayers()
    assert [layer.output for layer in discriminator_layers(discriminator)] == [
        discriminator.first[1],
        discriminator.second[1],
    ]
    assert hooks(generator) == hooks(discriminator) == 0


def test_dropped_maps_are_zero_and_come_back(trained: TrainedRun):
    generator = trained.generator
    layers = generator_layers(generator)
    assert [layer.channels for layer in layers] == [16, 8, 3]  # 16 pixels, from 4×4 on
    seen: list[Tensor] = []
    latents = trained.latents(4)
    before = trained.images(latents)
    with dropping(layers, {1: [0, 5]}):
        # The next layer is given what is left behind norm and activation.
        peek = layers[2].convolution.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        without = trained.images(latents)
        peek.remove()
    assert seen[0][:, [0, 5]].abs().max() == 0
    assert seen[0][:, [1, 2, 3, 4, 6, 7]].abs().max() > 0
    assert not without.equal(before)
    assert trained.images(latents).equal(before)
    assert hooks(generator) == 0


def test_dropping_is_undone_after_an_error(trained: TrainedRun):
    layers = generator_layers(trained.generator)

    def fail() -> None:
        with dropping(layers, {0: [1]}):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert hooks(trained.generator) == 0


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ({3: [0]}, "layer 3: the network's layers are numbered from 0 to 2"),
        ({0: [16]}, "feature 16 of layer 0: its features are numbered from 0 to 15"),
        ({1: [-1]}, "feature -1 of layer 1"),
    ],
)
def test_no_such_map(trained: TrainedRun, maps: dict, message: str):
    with pytest.raises(RequestError, match=message):
        network_analysis.drop(trained, maps)
    assert hooks(trained.generator) == 0


@pytest.mark.parametrize("kind", ["attributes", "continuous"])
def test_layers_of_a_generator_of_values(tmp_path: Path, tables_in: Callable[..., dict], kind: str):
    run = train_values(tmp_path, tables_in(tmp_path), kind)
    assert generator_layers(run.generator) == []  # dense layers alone


def test_pictures_of_filters(trained: TrainedRun, tmp_path: Path):
    first = network_analysis.first_filters(trained)
    seen = trained.discriminator.blocks[0][0].weight.detach()
    torch.testing.assert_close(first.discriminator, seen / seen.abs().max())
    made = trained.generator.blocks[-1][0].weight.detach()
    assert made.shape == (8, 3, 4, 4)
    torch.testing.assert_close(first.generator, made / made.abs().max())
    assert [path.name for path in first.save(tmp_path)] == ["generator_filters.png", "discriminator_filters.png"]
    with pytest.raises(RequestError, match="neither sees nor makes images"):
        filter_pictures(generator_layers(trained.generator)[0], 17)


def test_strongest_responses(trained: TrainedRun, tmp_path: Path):
    state = torch.get_rng_state()
    before = {name: value.clone() for name, value in trained.discriminator.state_dict().items()}
    found = network_analysis.guided(trained, layer=1, features=[3, 0])
    assert found.trained.features == found.random.features == [3, 0]
    assert found.trained.guided.shape == (2, 8, 3, 16, 16)
    assert found.trained.guided.abs().max() == pytest.approx(1)
    assert (found.trained.values.diff(dim=1) <= 0).all()
    assert not found.random.guided.equal(found.trained.guided)
    found.save(tmp_path / "guided.png")
    strongest = network_analysis.guided(trained, count=2).trained
    assert strongest.layer == 1
    assert strongest.values[0, 0] >= strongest.values[1, 0] >= found.trained.values.max()
    assert torch.get_rng_state().equal(state)
    assert hooks(trained.discriminator) == 0
    assert all(value.equal(before[name]) for name, value in trained.discriminator.state_dict().items())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"layer": 2}, "layer 2: the discriminator's layers are numbered from 0 to 1"),
        ({"layer": -3}, "layer -3: "),
        ({"features": [8]}, "feature 8 of layer 1: its features are numbered from 0 to 7"),
        ({"features": []}, "no feature of layer 1"),
    ],
)
def test_no_such_feature(trained: TrainedRun, wrong: dict, message: str):
    with pytest.raises(RequestError, match=message):
        network_analysis.guided(trained, **wrong)
