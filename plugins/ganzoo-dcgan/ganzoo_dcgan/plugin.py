"""Registers the DCGAN variants with ganzoo."""

from __future__ import annotations

from ganzoo.plugin import Registrar, hookimpl
from ganzoo_dcgan import configs, extractor_config, importers


@hookimpl
def register_architectures(register: Registrar) -> None:
    """Each variant under one name, for its generator and its discriminator, and PatchGAN's discriminator."""
    register("dcgan", "ganzoo_dcgan.dcgan:DCGANGenerator", config=configs.DCGANGeneratorConfig)
    register("dcgan", "ganzoo_dcgan.dcgan:DCGANDiscriminator", config=configs.DCGANDiscriminatorConfig)
    register("dcgan_dense", "ganzoo_dcgan.dense:DenseGenerator", config=configs.DenseGeneratorConfig)
    register("dcgan_dense", "ganzoo_dcgan.dense:DenseDiscriminator", config=configs.DenseDiscriminatorConfig)
    register(
        "dcgan_authors", "ganzoo_dcgan.radford2016:Radford2016Generator", config=configs.Radford2016GeneratorConfig
    )
    register(
        "dcgan_authors",
        "ganzoo_dcgan.radford2016:Radford2016Discriminator",
        config=configs.Radford2016DiscriminatorConfig,
    )
    register(
        "dcgan_authors_imagenet32",
        "ganzoo_dcgan.radford2016_imagenet:Radford2016ImageNetGenerator",
        config=configs.Radford2016ImageNetGeneratorConfig,
    )
    register(
        "dcgan_authors_imagenet32",
        "ganzoo_dcgan.radford2016_imagenet:Radford2016ImageNetDiscriminator",
        config=configs.Radford2016ImageNetDiscriminatorConfig,
    )
    register(
        "dcgan_authors_mnist",
        "ganzoo_dcgan.radford2016_mnist:Radford2016MNISTGenerator",
        config=configs.Radford2016MNISTGeneratorConfig,
    )
    register(
        "dcgan_authors_mnist",
        "ganzoo_dcgan.radford2016_mnist:Radford2016MNISTDiscriminator",
        config=configs.Radford2016MNISTDiscriminatorConfig,
    )
    register(
        "gan_in_action", "ganzoo_dcgan.gan_in_action:GANInActionGenerator", config=configs.GANInActionGeneratorConfig
    )
    register(
        "gan_in_action",
        "ganzoo_dcgan.gan_in_action:GANInActionDiscriminator",
        config=configs.GANInActionDiscriminatorConfig,
    )
    register("gan", "ganzoo_dcgan.gan:GANGenerator", config=configs.GANGeneratorConfig)
    register("gan", "ganzoo_dcgan.gan:GANDiscriminator", config=configs.GANDiscriminatorConfig)
    register("patchgan", "ganzoo_dcgan.patchgan:PatchGANDiscriminator", config=configs.PatchGANDiscriminatorConfig)


@hookimpl
def register_importers(register: Registrar) -> None:
    """Weights that others published for two of the variants."""
    register(
        "dcgan_authors", "ganzoo_dcgan.radford2016_dump:Radford2016DumpImporter", config=importers.Radford2016DumpConfig
    )
    register(
        "dcgan_tutorial", "ganzoo_dcgan.tutorial_state:TutorialStateImporter", config=importers.TutorialStateConfig
    )


@hookimpl
def register_extractors(register: Registrar) -> None:
    """The discriminator of a trained run, which samples of others can be scored by."""
    register(
        "dcgan_discriminator",
        "ganzoo_dcgan.extractors:DiscriminatorFeatures",
        config=extractor_config.DiscriminatorFeaturesConfig,
    )
