"""Define the kinds of component, from which the registries, the recipe's tables and the checks are derived."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganzoo.components.options import ComponentConfig


@dataclass(frozen=True)
class Kind:
    """A kind of component; it refers to classes and functions by name, so that the table imports none of them.

    Attributes:
        name: in the singular, such as "penalty".
        plural: name of the kind's registry.
        hook: name of the hook that registers components of this kind; two kinds may share one.
        config_class: base class of their options, in `components.options`.
        contract: base class of the components, as "module:name"; the config where a component is no more.
        table: dotted place in a recipe; empty where a recipe names none.
        many: whether a recipe has any number of them, in a list of tables.
        bare: whether a name may stand in such a list in place of a table.
        keyed: whether a recipe has any number of them, in tables by their names: `[tracking.wandb]`.
        conformance: check of one component, as "module:name"; empty where only its options are checked.
        usual: distribution that has the usual components, which a message names where it is missing; empty: none has.
    """

    name: str
    plural: str
    hook: str
    config_class: str
    contract: str
    table: str = ""
    many: bool = False
    bare: bool = False
    keyed: bool = False
    conformance: str = ""
    usual: str = ""

    @cached_property
    def config(self) -> type[ComponentConfig]:
        """The base class of the options."""
        return getattr(import_module("ganzoo.components.options"), self.config_class)  # type: ignore[no-any-return]

    def configs(self, recipe: Any) -> dict[str, ComponentConfig]:
        """Return the options of a recipe's components of this kind by their paths."""
        if not self.table:
            return {}
        found = attrgetter(self.table)(recipe)
        if self.keyed:
            return {f"{self.table}.{name}": each for name, each in found.chosen().items()}
        if self.many:
            return {f"{self.table}.{index}": each for index, each in enumerate(found)}
        further = {
            f"networks.{role}": each for role, each in dict(recipe.networks).items() if isinstance(each, self.config)
        }
        return {self.table: found, **further}


# fmt: off
KINDS = (
    Kind("generator", "generators", "register_architectures", "GeneratorConfig", table="generator",
         contract="ganzoo.components.network:Generator", conformance="ganzoo.testing:check_generator"),
    Kind("discriminator", "discriminators", "register_architectures", "DiscriminatorConfig", table="discriminator",
         contract="ganzoo.components.network:Discriminator", conformance="ganzoo.testing:check_discriminator"),
    Kind("loss", "losses", "register_losses", "LossConfig", table="loss",
         contract="ganzoo.components.loss:Loss", conformance="ganzoo.testing:check_loss"),
    Kind("penalty", "penalties", "register_losses", "PenaltyConfig", table="penalties", many=True,
         contract="ganzoo.components.penalty:Penalty", conformance="ganzoo.testing:check_penalty"),
    Kind("dataset", "datasets", "register_datasets", "DatasetConfig", table="dataset",
         contract="ganzoo.components.dataset:Dataset", conformance="ganzoo.testing:check_dataset"),
    Kind("trainer", "trainers", "register_trainers", "TrainerConfig", table="trainer",
         contract="ganzoo.components.trainer:Trainer", conformance="ganzoo.testing:check_trainer"),
    Kind("importer", "importers", "register_importers", "ImporterConfig",
         contract="ganzoo.components.importer:Importer"),
    Kind("extractor", "extractors", "register_extractors", "ExtractorConfig", table="evaluation.extractors", many=True,
         contract="ganzoo.components.extractor:Extractor", conformance="ganzoo.testing:check_extractor",
         usual="ganzoo-metrics"),
    Kind("metric", "metrics", "register_metrics", "MetricConfig", table="evaluation.metrics", many=True, bare=True,
         contract="ganzoo.components.metric:Metric", conformance="ganzoo.testing:check_metric",
         usual="ganzoo-metrics"),
    Kind("optimizer", "optimizers", "register_optimizers", "OptimizerConfig",
         contract="ganzoo.components.options:OptimizerConfig", conformance="ganzoo.testing:check_optimizer"),
    Kind("observer", "observers", "register_observers", "ObserverConfig", table="observers", keyed=True,
         contract="ganzoo.components.observer:Observer", conformance="ganzoo.testing:check_observer"),
    Kind("tracker", "trackers", "register_observers", "TrackerConfig", table="tracking", keyed=True,
         contract="ganzoo.components.observer:Tracker", conformance="ganzoo.testing:check_observer",
         usual="ganzoo-trackers"),
)
# fmt: on

LISTS = tuple(dict.fromkeys(kind.hook.removeprefix("register_") for kind in KINDS))
"""The arguments of `ganzoo list`: kinds that share a hook are listed together."""


def kind_of(config: type[ComponentConfig]) -> Kind:
    """Return the kind of the components with such options."""
    return next(kind for kind in KINDS if issubclass(config, kind.config))
