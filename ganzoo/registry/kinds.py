"""Define the kinds of component, from which the registries and the recipe's tables are derived."""

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
    """A kind of component; it refers to classes by name, so that the table imports none of them.

    Attributes:
        name: in the singular, such as "penalty".
        plural: name of the kind's registry.
        hook: name of the hook that registers components of this kind; two kinds may share one.
        table: dotted place in a recipe; empty where a recipe names none.
        many: whether a recipe has any number of them, in a list of tables.
        bare: whether a name may stand in such a list in place of a table.
        keyed: whether a recipe has any number of them, in tables by their names: `[tracking.wandb]`.
        usual: distribution that has the usual components, which a message names where it is missing; empty: none has.
    """

    name: str
    plural: str
    hook: str
    table: str = ""
    many: bool = False
    bare: bool = False
    keyed: bool = False
    usual: str = ""

    @cached_property
    def config(self) -> type[ComponentConfig]:
        """The base class of the options, which is called after the kind: `PenaltyConfig`."""
        options = import_module("ganzoo.components.options")
        return getattr(options, f"{self.name.capitalize()}Config")  # type: ignore[no-any-return]

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
    Kind("generator", "generators", "register_architectures", table="generator"),
    Kind("discriminator", "discriminators", "register_architectures", table="discriminator"),
    Kind("loss", "losses", "register_losses", table="loss"),
    Kind("penalty", "penalties", "register_losses", table="penalties", many=True),
    Kind("dataset", "datasets", "register_datasets", table="dataset", usual="ganzoo-datasets"),
    Kind("trainer", "trainers", "register_trainers", table="trainer"),
    Kind("importer", "importers", "register_importers"),
    Kind("extractor", "extractors", "register_extractors", table="evaluation.extractors", many=True,
         usual="ganzoo-metrics"),
    Kind("metric", "metrics", "register_metrics", table="evaluation.metrics", many=True, bare=True,
         usual="ganzoo-metrics"),
    Kind("optimizer", "optimizers", "register_optimizers"),
    Kind("observer", "observers", "register_observers", table="observers", keyed=True),
    Kind("tracker", "trackers", "register_observers", table="tracking", keyed=True, usual="ganzoo-trackers"),
)
# fmt: on

LISTS = tuple(dict.fromkeys(kind.hook.removeprefix("register_") for kind in KINDS))
"""The arguments of `ganzoo list`: kinds that share a hook are listed together."""
