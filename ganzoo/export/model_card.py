"""The README.md of an export: a model card as the Hugging Face Hub reads it, with scores and how they were taken."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ganzoo.evaluation.evaluation_log import Evaluation, read_evaluations

if TYPE_CHECKING:
    from ganzoo.recipe.model import Recipe
    from ganzoo.sampling.trained_run import TrainedRun

TASK = "unconditional-image-generation"
"""What the Hub calls it; it has no word for images by class."""

LOADING = {
    "safetensors": """\
import ganzoo

trained = ganzoo.load_export("FOLDER")  # this folder
images = trained.sample(64)  # a tensor in [−1, 1]""",
    "hub": """\
import ganzoo
from huggingface_hub import snapshot_download

images = ganzoo.load_export(snapshot_download("OWNER/NAME")).sample(64)  # a tensor in [−1, 1]""",
    "onnx": """\
import numpy, onnxruntime

session = onnxruntime.InferenceSession("generator.onnx")
(images,) = session.run(None, INPUTS)  # in [−1, 1]""",
}


def model_card(trained: TrainedRun, recipe: Recipe, form: str, about: Mapping[str, Any]) -> str:
    """The whole text.

    Args:
        trained: the run.
        recipe: of it, as it is given away.
        form: "safetensors", "onnx" or "hub".
        about: what the manifest says of the weights.
    """
    evaluations = [each for each in read_evaluations(trained.directory) if _is_of(each, trained, about)]
    parts = [
        _front_matter(trained, form, about, evaluations),
        f"# {trained.recipe.run.name}",
        _summary(trained, about),
        "![Samples from latents of seed 0](samples.png)",
        "## Load it",
        *_loading(trained, form, about),
        "## Scores",
        *_scores(trained, evaluations),
        "## How it was trained",
        f"{trained.checkpoint.step} steps. `ganzoo run recipe.toml` trains such a network anew:",
        f"```toml\n{recipe.to_toml().strip()}\n```",
        "## Origin and license",
        _origin(trained, about),
    ]
    return "\n\n".join(parts) + "\n"


def _is_of(evaluation: Evaluation, trained: TrainedRun, about: Mapping[str, Any]) -> bool:
    """Whether these very weights were scored."""
    return evaluation.step == trained.checkpoint.step and evaluation.card.samples.weights == about["weights"]


def _front_matter(trained: TrainedRun, form: str, about: Mapping[str, Any], evaluations: Sequence[Evaluation]) -> str:
    """What the Hub files a model under. JSON is YAML, and needs no library to write."""
    recipe = trained.recipe
    tags = ["gan", "image-generation", "ganzoo", recipe.generator.name, recipe.loss.name, recipe.dataset.name]
    entries: dict[str, Any] = {
        "library_name": "onnx" if form == "onnx" else "ganzoo",
        "tags": list(dict.fromkeys(filter(None, tags))),
    }
    if not trained.generator.conditional:
        entries["pipeline_tag"] = TASK
    if about["license"]:
        entries["license"] = about["license"]
    if evaluations:
        entries["metrics"] = list(dict.fromkeys(name for each in evaluations for name in each.scores))
        entries["model-index"] = [{"name": recipe.run.name, "results": [_result(each) for each in evaluations]}]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in entries.items()]
    return "\n".join(["---", *lines, "---"])


def _result(evaluation: Evaluation) -> dict[str, Any]:
    """One evaluation as the Hub has it."""
    card = evaluation.card
    return {
        "task": {"type": TASK, "name": "Image generation"},
        "dataset": {"type": card.real.dataset, "name": card.real.dataset, "args": {"images": card.real.images}},
        "metrics": [
            {"type": name, "name": name, "value": value, "args": {"samples": card.samples.images}}
            for name, value in evaluation.scores.items()
        ],
    }


def _summary(trained: TrainedRun, about: Mapping[str, Any]) -> str:
    recipe, info = trained.recipe, trained.checkpoint.info
    kind = f"of {info.num_classes} classes" if trained.generator.conditional else "without labels"
    weights = "averaged over training (EMA)" if about["weights"] == "ema" else "as they were at the end"
    norm = "" if about["batch_norm"] == "none" else f", batch norm with {about['batch_norm']} statistics"
    return (
        f"A GAN that makes images of {info.image} (channels × height × width) {kind}, trained on "
        f"`{recipe.dataset.name}` with ganzoo: generator `{recipe.generator.name}`, discriminator "
        f"`{recipe.discriminator.name}`, loss `{recipe.loss.name}`. The weights are those of step "
        f"{trained.checkpoint.step}, {weights}{norm}."
    )


def _loading(trained: TrainedRun, form: str, about: Mapping[str, Any]) -> Iterator[str]:
    latent_dim, conditional = trained.recipe.generator.latent_dim, trained.generator.conditional
    code = LOADING[form]
    if form == "onnx":
        labels = ', "labels": numpy.arange(64) % N'.replace("N", str(trained.checkpoint.info.num_classes))
        inputs = f'{{"latents": numpy.random.randn(64, {latent_dim}).astype("float32"){labels if conditional else ""}}}'
        yield f"```python\n{code.replace('INPUTS', inputs)}\n```"
        worst = max(about["onnx"]["largest_difference"].values())
        batches = ", ".join(about["onnx"]["largest_difference"])
        yield (
            f"Batches may be of any size. Compared with torch by onnxruntime on batches of {batches}: images differ by "
            f"{worst:.1g} at most. Latents are drawn as the generator was trained with them: `sample_latents` of "
            f"`{trained.recipe.generator.name}`; most take a standard normal distribution."
        )
        return
    yield f"```python\n{code}\n```"
    needs = ", ".join(f"`{name}` {version}" for name, version in about["plugins"].items())
    yield (
        f"It takes `ganzoo-core` {about['software']['ganzoo']} or later"
        + (f", and {needs}. " if needs else ". ")
        + "Nothing in the folder is executed, and files are compared with their checksums in `export.json`. The "
        "commands of ganzoo take the folder as they take a run: `ganzoo sample FOLDER --out grid.png`."
    )


def _scores(trained: TrainedRun, evaluations: Sequence[Evaluation]) -> Iterator[str]:
    if not evaluations:
        yield "These weights have not been evaluated."
    for each in evaluations:
        rows = "\n".join(f"| {name} | {value:.5g} |" for name, value in each.scores.items())
        yield f"| score | value |\n|---|---|\n{rows}"
        card = json.dumps(each.card.model_dump(mode="json", exclude={"run"}), indent=2, ensure_ascii=False)
        yield f"<details><summary>How they were taken</summary>\n\n```json\n{card}\n```\n\n</details>"
    ended = _ended(trained)
    if ended:
        rows = "\n".join(f"| {name} | {best} | {last} |" for name, best, last in ended)
        yield f"While it was trained:\n\n| score | best | last |\n|---|---|---|\n{rows}"


def _ended(trained: TrainedRun) -> list[tuple[str, str, str]]:
    """Best and last of each score that was taken in training, with its step."""
    try:
        scores = json.loads((trained.path / "summary.json").read_text(encoding="utf-8"))["scores"]
        shown = [
            {name: f"{one['value']:.5g} (step {one['step']})" for name, one in scores[which].items()}
            for which in ("best", "last")
        ]
        return [(name, shown[0][name], shown[1][name]) for name in shown[0]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _origin(trained: TrainedRun, about: Mapping[str, Any]) -> str:
    named = f"`{about['license']}`" if about["license"] else "none has been named; ask whoever gave you this folder"
    software, recipe = about["software"], trained.recipe
    return (
        f"Made by `ganzoo export` (ganzoo {software['ganzoo']}, torch {software['torch']}) of the run "
        f"`{recipe.run.name}` with seed {recipe.run.seed}. License of the weights: {named}. Images of "
        f"`{recipe.dataset.name}` may have terms of their own, which can also concern what is learnt from them."
    )
