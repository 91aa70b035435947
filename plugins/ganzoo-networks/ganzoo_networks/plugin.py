"""Registers networks and heads with ganzoo."""

from __future__ import annotations

from ganzoo.plugin import Registrar, hookimpl
from ganzoo_networks import configs


@hookimpl
def register_architectures(register: Registrar) -> None:
    """A name stands for a generator and a discriminator, or for the one that a paper adds."""
    place = "ganzoo_networks"
    register("sngan", f"{place}.sngan:SNGANDiscriminator", config=configs.SNGANDiscriminatorConfig)
    register("sngan_resnet", f"{place}.sngan_resnet:ResNetGenerator", config=configs.ResNetGeneratorConfig)
    register("sngan_resnet", f"{place}.sngan_resnet:ResNetDiscriminator", config=configs.ResNetDiscriminatorConfig)
    register("sagan", f"{place}.sagan:SAGANGenerator", config=configs.SAGANGeneratorConfig)
    register("sagan", f"{place}.sagan:SAGANDiscriminator", config=configs.SAGANDiscriminatorConfig)
    register("cgan", f"{place}.cgan:CGANGenerator", config=configs.CGANGeneratorConfig)
    register("cgan", f"{place}.cgan:CGANDiscriminator", config=configs.CGANDiscriminatorConfig)
    register("projection", f"{place}.projection:ProjectionGenerator", config=configs.ProjectionGeneratorConfig)
    register("projection", f"{place}.projection:ProjectionDiscriminator", config=configs.ProjectionDiscriminatorConfig)
    register("infogan", f"{place}.infogan:InfoGANGenerator", config=configs.InfoGANGeneratorConfig)


@hookimpl
def register_losses(register: Registrar) -> None:
    """Heads on the discriminator's features, as penalties."""
    heads = "ganzoo_networks.heads"
    register("auxiliary_classifier", f"{heads}:AuxiliaryClassifier", config=configs.AuxiliaryClassifierConfig)
    register("mutual_information", f"{heads}:MutualInformation", config=configs.MutualInformationConfig)
