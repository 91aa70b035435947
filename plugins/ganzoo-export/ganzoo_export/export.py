"""Write a trained generator into a folder to share, completely or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import tomli_w
import torch

from ganzoo.plugin import (
    DataError,
    Options,
    Recipe,
    RequestError,
    TrainedRun,
    chosen_entries,
    kept_random_state,
    new_folder,
    seal_export,
)
from ganzoo.sampling.generate import BatchNormMode, batch_norm_used
from ganzoo.sampling.image_io import save_array, save_picture, save_tensors
from ganzoo.sampling.trained_run import Weights
from ganzoo_export.model_card import model_card
from ganzoo_export.onnx_model import LATENTS, onnx_model, unusual_latents
from ganzoo_export.private import public_tables, without_folders

Format = Literal["safetensors", "onnx", "hub"]
HEADER = "Every option of the run that made these weights. `ganzoo run` on this file trains such networks anew."
GRID = "samples.png"
SAMPLES = 64
PARTS = 3
"""Parts that progress is shown by: networks and recipe, samples, model card and checksums."""
PLUGINS = "plugins"
"""Folder of plugin files, as a run directory has it."""

T = TypeVar("T", bound=Options)


@kept_random_state()
def export_run(
    trained: TrainedRun,
    out: str | Path,
    format: Format = "safetensors",  # noqa: A002
    *,
    weights: Weights = "auto",
    discriminator: bool = False,
    batch_norm: BatchNormMode | None = None,
    license: str | None = None,  # noqa: A002
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Path:
    """Write the generator with its recipe, samples and model card into the new folder `out`.

    Args:
        trained: the run.
        out: must not exist, or be empty.
        format: "safetensors", which `ganzoo.load_export` opens; "hub", the same in the Hugging Face Hub's layout;
            "onnx", compared with torch by onnxruntime (extra `onnx`).
        weights: "ema", "raw", or "auto" for ema where there is one.
        discriminator: export it too, all of them where the trainer has several; not as ONNX.
        batch_norm: statistics that are fixed in an ONNX file; default: those of the recipe's [samples].
        license: SPDX name of the license of the weights.
        progress: called with the number of parts that are written and in all.

    Raises:
        RequestError: `out` is taken, or the run cannot be exported in this way; nothing is written.
        OutputError: it could not be written; nothing of it is left.
    """
    out, form = Path(out), format
    if license is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", license):
        raise RequestError(f'--license "{license}": give the name that SPDX has for it, such as mit or cc-by-4.0')
    if form not in get_args(Format):
        raise RequestError(f'format "{form}": must be one of {", ".join(get_args(Format))}')
    if form == "onnx" and discriminator:
        raise RequestError("the discriminator is not exported as ONNX: take safetensors or hub")
    if form != "onnx" and batch_norm is not None:
        raise RequestError(
            f"--batch-norm fixes statistics in an ONNX file; of a {form} export the user chooses, and takes those of "
            f"the recipe's [samples] unless told otherwise"
        )
    name = trained.tensors_name(weights)
    mode = batch_norm or trained.recipe.samples.batch_norm
    with new_folder(out) as folder:
        progress(0, PARTS)
        generator, recipe = trained.generator_with(weights), _public_recipe(trained.recipe)
        about: dict[str, Any] = {
            "format": form,
            "weights": trained.weights_name(weights),
            "batch_norm": batch_norm_used(generator, mode),
            "plugins": _plugins(trained, recipe),
            "software": {"ganzoo": version("ganzoo-core"), "torch": torch.__version__},
            "license": license or "",
            "origin": trained.recipe.run.name,
        }
        networks = {name: f"{'model' if form == 'hub' else name}.safetensors"} if form != "onnx" else {}
        roles = trained.recipe.trainer.roles if discriminator else {}
        networks |= {role: f"{role}.safetensors" for role, kind in roles.items() if kind == "discriminator"}
        if form == "onnx":
            model, about["onnx"] = onnx_model(generator, mode, f"{trained.path}")
            (folder / "generator.onnx").write_bytes(model)
            latents = unusual_latents(generator)
            if latents is not None:
                save_array(latents, folder / f"{LATENTS}.npy")
        for network, file in networks.items():
            save_tensors(trained.checkpoint.network(network), folder / file)  # also of a checkpoint that was removed
        _write_recipe(trained, recipe, folder)
        progress(1, PARTS)
        if form == "hub":
            config = _hub_config(trained, recipe, about)
            _write(folder / "config.json", json.dumps(config, indent=2, ensure_ascii=False))
        with suppress(DataError, RequestError):  # labels and conditions may be of a dataset that is gone or changed
            picture = trained.picture(trained.sample(SAMPLES, weights=weights, batch_norm=batch_norm))
            if picture is not None:
                run = f"{trained.recipe.run.name}/{trained.path.name}"
                about_samples = trained.about(weights=weights, batch_norm=batch_norm, seed=0, run=run)
                save_picture(picture, folder / GRID, about=about_samples)
        progress(2, PARTS)
        _write(folder / "README.md", model_card(trained, recipe, form, about, samples=(folder / GRID).is_file()))
        seal_export(folder, trained.checkpoint, networks, about)
        progress(PARTS, PARTS)
    return out


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _public_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe without what is private, and without choices of weights, of which an export has one kind."""

    def reset(options: T, *names: str) -> T:
        return options.model_copy(update={name: type(options).model_fields[name].get_default() for name in names})

    kept = tuple(f"{PLUGINS}/{Path(named).name}" for named in recipe.plugins.files)
    return without_folders(
        reset(recipe, "observers", "tracking").model_copy(
            update={
                "init": reset(recipe.init, "source", "step", "networks"),
                "samples": reset(recipe.samples, "weights"),
                "evaluation": reset(recipe.evaluation, "weights"),
                "run": reset(recipe.run, "root"),
                "plugins": recipe.plugins.model_copy(update={"files": kept}),
            }
        )
    )


def _write_recipe(trained: TrainedRun, recipe: Recipe, folder: Path) -> None:
    """Write the resolved recipe, and the plugin files that it needs."""
    named = {Path(file).name for file in recipe.plugins.files}
    for file in trained.manager.files:
        if file.name in named:
            (folder / PLUGINS).mkdir(exist_ok=True)
            (folder / PLUGINS / file.name).write_bytes(file.source)
    _write(folder / "recipe.toml", f"# {HEADER}\n\n{tomli_w.dumps(public_tables(recipe))}")


def _plugins(trained: TrainedRun, recipe: Recipe) -> dict[str, str]:
    """Return the distributions, but for the core, that the recipe's components come from or that it requires."""
    manager = trained.manager
    named = {entry.plugin for kind, entry in chosen_entries(recipe, manager) if kind.name != "tracker"}
    named |= {str(plugin) for required in recipe.plugins.requires for plugin in manager.of_distribution(required)}
    sources = {plugin.source for plugin in manager.plugins if str(plugin) in named} - {"ganzoo-core"}
    return {name: version for name, version in manager.distributions().items() if name in sources}


def _hub_config(trained: TrainedRun, recipe: Recipe, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of `config.json`: the keys that tools of the Hub look for, and the whole recipe."""
    info, conditional = trained.info, sorted(trained.generator.uses)
    return {
        "library_name": "ganzoo",
        "model_type": "gan",
        "architectures": [type(trained.generator).__name__],
        "generator": trained.recipe.network(trained.network).model_dump(mode="json"),
        "info": info.to_dict(),
        "conditional": bool(conditional),
        "inputs": [LATENTS, *reversed(conditional)],
        "step": trained.checkpoint.step,
        "weights": about["weights"],
        "batch_norm": about["batch_norm"],
        "plugins": about["plugins"],
        "recipe": public_tables(recipe),
    }
