"""Registers the DCGAN variants with ganzoo."""

from __future__ import annotations

from ganzoo.hookspecs import hookimpl
from ganzoo.registry import Registrar
from ganzoo_dcgan import configs


@hookimpl
def register_architectures(register: Registrar) -> None:
    """Each variant under one name, for its generator and its discriminator."""
    register("dcgan", "ganzoo_dcgan.dcgan:DCGANGenerator", config=configs.DCGANGeneratorConfig)
    register("dcgan", "ganzoo_dcgan.dcgan:DCGANDiscriminator", config=configs.DCGANDiscriminatorConfig)
    register("dcgan_dense", "ganzoo_dcgan.dense:DenseGenerator", config=configs.DenseGeneratorConfig)
    register("dcgan_dense", "ganzoo_dcgan.dense:DenseDiscriminator", config=configs.DenseDiscriminatorConfig)
