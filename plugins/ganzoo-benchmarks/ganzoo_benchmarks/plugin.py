"""Registers datasets, networks, metrics and the classifier with ganzoo."""

from __future__ import annotations

from ganzoo.plugin import Registrar, hookimpl
from ganzoo_benchmarks import configs

PLACE = "ganzoo_benchmarks"


@hookimpl
def register_datasets(register: Registrar) -> None:
    """Gaussians in two dimensions, and stacked MNIST."""
    register("ring", f"{PLACE}.datasets:Ring", config=configs.RingConfig)
    register("grid", f"{PLACE}.datasets:Grid", config=configs.GridConfig)
    register("stacked_mnist", f"{PLACE}.datasets:StackedMNIST", config=configs.StackedMNISTConfig)


@hookimpl
def register_architectures(register: Registrar) -> None:
    """The networks of the protocols."""
    register("mlp", f"{PLACE}.networks:MLPGenerator", config=configs.MLPGeneratorConfig)
    register("mlp", f"{PLACE}.networks:MLPDiscriminator", config=configs.MLPDiscriminatorConfig)
    register("dcgan_28", f"{PLACE}.networks:DCGAN28Generator", config=configs.DCGAN28GeneratorConfig)
    register("dcgan_28", f"{PLACE}.networks:DCGAN28Discriminator", config=configs.DCGAN28DiscriminatorConfig)


@hookimpl
def register_metrics(register: Registrar) -> None:
    """Modes found."""
    register("modes", f"{PLACE}.modes:Modes", config=configs.ModesConfig)


@hookimpl
def register_extractors(register: Registrar) -> None:
    """The classifier of triples of digits."""
    register("stacked_digits", f"{PLACE}.stacked_digits:StackedDigits", config=configs.StackedDigitsConfig)
