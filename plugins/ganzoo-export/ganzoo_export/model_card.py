"""The README.md of an export: a model card for the Hugging Face Hub, with scores and their protocols."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.resources import files
from typing import Any

import jinja2
import tomli_w

from ganzoo.plugin import (
    Evaluation,
    Generator,
    ImageSpec,
    Recipe,
    TrainedRun,
    VectorSpec,
    markdown,
    printable,
    read_evaluations,
)
from ganzoo_export.onnx_model import LATENTS, unusual_latents
from ganzoo_export.private import public_tables, without_folders

TASK = "unconditional-image-generation"
"""The Hub's name of the task; it has none for class-conditional generation."""


def model_card(
    trained: TrainedRun, recipe: Recipe, form: str, about: Mapping[str, Any], *, samples: bool = True
) -> str:
    """Render the template `model_card.md.j2`.

    Args:
        trained: the run.
        recipe: of the run, without what is private.
        form: "safetensors", "onnx" or "hub".
        about: the manifest's entries about the weights.
        samples: whether there is a picture of samples.
    """
    environment = jinja2.Environment(  # noqa: S701 (Markdown is no HTML)
        undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"json": _json, "markdown": markdown, "printable": partial(printable, keep="\n")}
    environment.filters["public"] = without_folders
    step, scored = trained.checkpoint.step, (trained.network, about["weights"])
    evaluations = [
        each
        for each in read_evaluations(trained.directory)
        if each.step == step and (each.card.samples.network, each.card.samples.weights) == scored
    ]
    environment_json = trained.directory.read_json("environment.json")
    imported = environment_json.get("imported")
    return environment.from_string(files("ganzoo_export").joinpath("model_card.md.j2").read_text("utf-8")).render(
        front_matter=_front_matter(trained, form, about, evaluations),
        recipe=trained.recipe,
        public_recipe=tomli_w.dumps(public_tables(recipe)),
        samples_of=_samples_of(trained.info.samples),
        step=trained.checkpoint.step,
        generator=trained.recipe.network(trained.network),
        given=_given(trained),
        feed=_feed(trained.generator),
        form=form,
        images=isinstance(trained.info.samples, ImageSpec),
        latents=bool(trained.generator.config.latent_dim),
        samples=samples,
        about=about,
        evaluations=evaluations,
        in_training=_in_training(trained),
        changed=_has_changed(environment_json),
        importer=imported.get("importer") if isinstance(imported, Mapping) else None,
        labels=_example_labels(trained.generator),
    )


def _has_changed(environment: Mapping[str, Any]) -> bool:
    """Return whether a run was resumed with other options or data than it was begun with."""
    history = environment.get("history")
    earlier = [each for each in history if isinstance(each, Mapping)] if isinstance(history, list) else []
    kept = {key: environment.get(key) for key in ("options", "data")}
    return any(part.get(key, now) != now for part in earlier for key, now in kept.items())


def _json(value: object, indent: int | None = None) -> str:
    """Return JSON, which is YAML too, without control characters, and with lines of ganzoo's own only."""
    return printable(json.dumps(value, ensure_ascii=False, indent=indent), keep="\n")


def _samples_of(spec: ImageSpec | VectorSpec) -> str:
    return f"images of {spec} (channels × height × width)" if isinstance(spec, ImageSpec) else f"vectors of {spec}"


def _given(trained: TrainedRun) -> str:
    """Say what the generator makes its images from, beside latents."""
    generator = trained.generator
    names = trained.told_classes()
    told = {
        "labels": f"of {generator.info.labels}" + (f" ({names})" if names else ""),
        "condition": f"for inputs of {generator.info.condition}",
    }
    return " ".join(told[each] for each in sorted(generator.uses, reverse=True)) or "without labels"


def _example_labels(generator: Generator) -> str:
    """Return the argument of `sample` for labels that are numbers, which are else those of the dataset; else ""."""
    labels = generator.info.labels
    numbers = "labels" in generator.uses and labels is not None and labels.kind != "classes"
    return f", labels={[[0] * len(labels.names)]}" if numbers and labels is not None else ""


def _feed(generator: Generator) -> dict[str, str]:
    """Return Python code for 64 of each input of the ONNX model, by its name."""
    info = generator.info
    names = len(info.labels.names) if info.labels else 1
    classes = info.labels is None or info.labels.kind == "classes"
    code = {
        "labels": f"numpy.arange(64) % {names}" if classes else f'numpy.zeros((64, {names}), "float32")',
        "condition": f'numpy.zeros((64, {str(info.condition.shape)[1:] if info.condition else ")"}, "float32")',
    }
    latents = f'numpy.random.randn(64, {generator.config.latent_dim}).astype("float32")'
    if unusual_latents(generator) is not None:
        latents = f'numpy.load("{LATENTS}.npy")[:64]'
    return {LATENTS: latents} | {name: code[name] for name in sorted(generator.uses, reverse=True)}


def _front_matter(
    trained: TrainedRun, form: str, about: Mapping[str, Any], evaluations: Sequence[Evaluation]
) -> dict[str, Any]:
    """Return the metadata that the Hub indexes, later written as JSON, which is YAML and needs no library."""
    recipe = trained.recipe
    images = isinstance(trained.info.samples, ImageSpec)
    tags = [
        "gan",
        *(["image-generation"] if images else []),
        "ganzoo",
        recipe.network(trained.network).name,
        recipe.loss.name,
        recipe.dataset.name,
    ]
    entries: dict[str, Any] = {
        "library_name": "onnx" if form == "onnx" else "ganzoo",
        "tags": list(dict.fromkeys(filter(None, tags))),
    }
    if images and not trained.generator.uses:
        entries["pipeline_tag"] = TASK
    if about["license"]:
        entries["license"] = about["license"]
    if evaluations:
        entries["metrics"] = list(dict.fromkeys(name for each in evaluations for name in each.scores))
        entries["model-index"] = [{"name": recipe.run.name, "results": [_result(each) for each in evaluations]}]
    return entries


def _result(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation as an entry of the Hub's `model-index`."""
    card = evaluation.card
    return {
        "task": {"type": TASK, "name": "Image generation"},
        "dataset": {"type": card.real.dataset, "name": card.real.dataset, "args": {"images": card.real.images}},
        "metrics": [
            {"type": name, "name": name, "value": value, "args": {"samples": card.samples.images}}
            for name, value in evaluation.scores.items()
            if math.isfinite(value)
        ],
    }


def _in_training(trained: TrainedRun) -> list[tuple[str, str, str]]:
    """Return the best and last value of each score taken in training, with their steps."""
    best, last = (
        {name: f"{each['value']:.5g} (step {each['step']})" for name, each in values.items()}
        for values in trained.scores().values()
    )
    return [(name, best.get(name, "—"), last[name]) for name in last]
