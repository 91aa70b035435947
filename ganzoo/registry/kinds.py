"""The kinds of component: one row each, from which the registries, the recipe's tables and the checks derive."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganzoo.components.options import ComponentConfig


@dataclass(frozen=True)
class Kind:
    """A kind of component; what is written "module:name" is imported when it is first asked for.

    Attributes:
        name: in the singular, such as "penalty".
        plural: names the kind's registry.
        hook: through which plugins register components of this kind, and maybe of another.
        contract: base class of the components.
        config_class: base class of their options.
        table: dotted place in a recipe; empty where a recipe names none.
        many: whether a recipe has any number of them, in a list of tables.
        conformance: check of one component; empty where there is none beyond that of its options.
    """

    name: str
    plural: str
    hook: str
    contract: str
    config_class: str
    table: str = ""
    many: bool = False
    conformance: str = ""

    @cached_property
    def config(self) -> type[ComponentConfig]:
        """The base class of the options."""
        return resolve_name(self.config_class)  # type: ignore[no-any-return]

    def configs(self, recipe: Any) -> dict[str, ComponentConfig]:
        """The options of a recipe's components of this kind, each by its path."""
        if not self.table:
            return {}
        found = attrgetter(self.table)(recipe)
        return {f"{self.table}.{index}": each for index, each in enumerate(found)} if self.many else {self.table: found}


# fmt: off
KINDS = (
    Kind("generator", "generators", "register_architectures",
         "ganzoo.components.network:Generator", "ganzoo.components.options:GeneratorConfig",
         "generator", conformance="ganzoo.testing.networks:check_generator"),
    Kind("discriminator", "discriminators", "register_architectures",
         "ganzoo.components.network:Discriminator", "ganzoo.components.options:DiscriminatorConfig",
         "discriminator", conformance="ganzoo.testing.networks:check_discriminator"),
    Kind("loss", "losses", "register_losses",
         "ganzoo.components.loss:Loss", "ganzoo.components.options:LossConfig",
         "loss", conformance="ganzoo.testing.losses:check_loss"),
    Kind("penalty", "penalties", "register_losses",
         "ganzoo.components.penalty:Penalty", "ganzoo.components.options:PenaltyConfig",
         "penalties", many=True, conformance="ganzoo.testing.losses:check_penalty"),
    Kind("dataset", "datasets", "register_datasets",
         "ganzoo.components.dataset:Dataset", "ganzoo.components.options:DatasetConfig",
         "dataset", conformance="ganzoo.testing.datasets:check_dataset"),
    Kind("trainer", "trainers", "register_trainers",
         "ganzoo.components.trainer:Trainer", "ganzoo.components.options:TrainerConfig",
         "trainer", conformance="ganzoo.testing.trainers:check_trainer"),
    Kind("importer", "importers", "register_importers",
         "ganzoo.components.importer:Importer", "ganzoo.components.options:ImporterConfig"),
    Kind("extractor", "extractors", "register_extractors",
         "ganzoo.components.extractor:Extractor", "ganzoo.components.options:ExtractorConfig",
         "evaluation.extractors", many=True, conformance="ganzoo.testing.extractors:check_extractor"),
)
# fmt: on

LISTS = tuple(dict.fromkeys(kind.hook.removeprefix("register_") for kind in KINDS))
"""What `ganzoo list` takes: the kinds that share a hook are listed together."""


def kind_of(config: type[ComponentConfig]) -> Kind:
    """The kind of the components that have such options."""
    return next(kind for kind in KINDS if issubclass(config, kind.config))
