"""What a run is filed under on Weights & Biases: its config and its tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ganzoo.components.network import parameters

if TYPE_CHECKING:
    from ganzoo.training.run import Run


def describe(run: Run) -> dict[str, Any]:
    """What W&B shows as the config: the whole resolved recipe, and the facts that it was run with."""
    parts, image = run.trainer.parts, run.info.image
    info = {
        "device": str(run.compute.device),
        "precision": run.compute.precision,
        "image": list(image.shape),
        "classes": run.info.num_classes,
        "images": len(run.loader.packed),
        "generator_parameters": parameters(parts.generator),
        "discriminator_parameters": parameters(parts.discriminator),
        "plugins": dict(run.plugin_versions),
    }
    return {**run.recipe.to_dict(), "facts": info}


def tags(run: Run) -> list[str]:
    """The names of the parts and the seed, and what the recipe adds; W&B takes 64 characters of each."""
    recipe = run.recipe
    components = (
        recipe.generator,
        recipe.discriminator,
        recipe.loss,
        *recipe.penalties,
        recipe.dataset,
        recipe.trainer,
    )
    names = [*(part.name for part in components), f"seed:{recipe.run.seed}", *recipe.tracking.wandb.tags]
    return list(dict.fromkeys(name[:64] for name in names if name))
