"""Registers the DCGAN variants with ganzoo."""

from __future__ import annotations

from ganzoo.registry.hookspecs import hookimpl
from ganzoo.registry.registry import Registrar
from ganzoo_dcgan import configs, extractor_config, importers


@hookimpl
def register_architectures(register: Registrar) -> None:
    """Each variant under one name, for its generator and its discriminator."""
    register("dcgan", "ganzoo_dcgan.dcgan:DCGANGenerator", config=configs.DCGANGeneratorConfig)
    register("dcgan", "ganzoo_dcgan.dcgan:DCGANDiscriminator", config=configs.DCGANDiscriminatorConfig)
    register("dcgan_dense", "ganzoo_dcgan.dense:DenseGenerator", config=configs.DenseGeneratorConfig)
    register("dcgan_dense", "ganzoo_dcgan.dense:DenseDiscriminator", config=configs.DenseDiscriminatorConfig)
    register("dcgan_authors", "ganzoo_dcgan.radford2016:AuthorsGenerator", config=configs.AuthorsGeneratorConfig)
    register(
        "dcgan_authors", "ganzoo_dcgan.radford2016:AuthorsDiscriminator", config=configs.AuthorsDiscriminatorConfig
    )
    register(
        "dcgan_authors_imagenet32",
        "ganzoo_dcgan.radford2016_imagenet:AuthorsImageNetGenerator",
        config=configs.AuthorsImageNetGeneratorConfig,
    )
    register(
        "dcgan_authors_imagenet32",
        "ganzoo_dcgan.radford2016_imagenet:AuthorsImageNetDiscriminator",
        config=configs.AuthorsImageNetDiscriminatorConfig,
    )
    register(
        "dcgan_authors_mnist",
        "ganzoo_dcgan.radford2016_mnist:AuthorsMNISTGenerator",
        config=configs.AuthorsMNISTGeneratorConfig,
    )
    register(
        "dcgan_authors_mnist",
        "ganzoo_dcgan.radford2016_mnist:AuthorsMNISTDiscriminator",
        config=configs.AuthorsMNISTDiscriminatorConfig,
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


@hookimpl
def register_importers(register: Registrar) -> None:
    """Weights that others published for two of the variants."""
    register(
        "dcgan_authors", "ganzoo_dcgan.radford2016_weights:AuthorsDumpImporter", config=importers.AuthorsDumpConfig
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
