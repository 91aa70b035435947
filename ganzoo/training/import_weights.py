"""Make a run directory of imported weights, checked against the networks first, completely or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ganzoo.components.importer import ImportedWeights, Importer
from ganzoo.errors import RequestError
from ganzoo.recipe.load import parse_recipe
from ganzoo.recipe.model import Recipe
from ganzoo.recipe.overrides import Overrides
from ganzoo.registry.plugin_manager import PluginManager
from ganzoo.registry.registry import Entry
from ganzoo.runtime.environment import describe_software
from ganzoo.runtime.memory import physical_memory
from ganzoo.storage.checkpoint import write_checkpoint
from ganzoo.storage.disk import check_unused, new_folder
from ganzoo.storage.exported import is_hub_blob
from ganzoo.storage.manifest import file_sha256
from ganzoo.storage.run_directory import RunDirectory
from ganzoo.text import did_you_mean
from ganzoo.training.fit import expected_tensors, misfits
from ganzoo.untrusted import check_contents, open_file

HEADER = "Made by `ganzoo import` for the weights beside it. `ganzoo run` on this file trains such networks anew."


def import_weights(
    source: Path,
    out: Path,
    manager: PluginManager,
    overrides: Overrides = (),
    *,
    importer: str | None = None,
    report: Callable[[ImportedWeights], None] | None = None,
) -> RunDirectory:
    """Import the weights in `source` into a new run directory `out`, with the arguments of `api.import_run`.

    Raises:
        RequestError: the source, the importer or `out` cannot be used; nothing is written.
        OutputError: the run directory could not be written; nothing of it is left.
    """
    if not source.exists():
        raise RequestError(f"{source}: there is no such file or folder to import")
    _check_source(source)
    check_unused(out)
    entry = choose_importer(source, manager, importer)
    reader: Importer = entry.load()(entry.config(name=entry.name))
    weights = reader.read(source)
    recipe = parse_recipe(weights.tables, manager, overrides, source=f"{source}: its recipe")
    _check_fit(source, weights, recipe, manager)
    if report is not None:
        report(weights)
    checksums = {file.name: file_sha256(file) for file in weights.files}
    origin = {"importer": entry.name, "source": str(source), "sha256": checksums}
    versions = manager.distributions()
    with new_folder(out) as partial:
        directory = RunDirectory.lay_out(partial, recipe, manager.files, HEADER)
        directory.write_json("environment.json", {**describe_software(versions), "imported": origin})
        directory.write_json("summary.json", _summary(weights, origin))
        write_checkpoint(directory.checkpoints, 0, weights.networks, info=weights.info, plugin_versions=versions)
    return RunDirectory(out)


def _check_source(source: Path) -> None:
    """Check that importers will find files alone, none of them larger than the memory.

    Raises:
        RequestError: they would not.
    """
    if source.is_dir():
        check_contents(source, allowed=is_hub_blob)
    for file in source.rglob("*") if source.is_dir() else [source]:
        try:
            if not file.is_dir():
                open_file(file, physical_memory()).close()
        except OSError as error:
            raise RequestError(f"{file}: cannot be read: {error.strerror or error}") from error


def choose_importer(source: Path, manager: PluginManager, name: str | None = None) -> Entry:
    """Return the importer of this name, or the only one that recognizes `source`.

    Raises:
        RequestError: there is no such importer, or it cannot read such a source, or none or several can.
    """
    registry = manager.registries.importers
    if name is not None and name not in registry:
        installed = ", ".join(registry.names()) or "none"
        close = did_you_mean(name, registry.names())
        raise RequestError(f'there is no importer "{name}"{close}; installed: {installed}')
    candidates = [registry[name]] if name is not None else list(registry)
    mismatches = {entry.name: entry.load()(entry.config(name=entry.name)).mismatch(source) for entry in candidates}
    fitting = [entry for entry in candidates if mismatches[entry.name] is None]
    if len(fitting) > 1:
        names = ", ".join(entry.name for entry in fitting)
        raise RequestError(f"{source}: can be read by several importers: choose one of {names} with --as")
    if not fitting:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in mismatches.items()) or "none is installed"
        raise RequestError(f"{source}: no importer knows this form ({reasons})")
    return fitting[0]


def _check_fit(source: Path, weights: ImportedWeights, recipe: Recipe, manager: PluginManager) -> None:
    """Check every tensor against the network that the recipe builds.

    Raises:
        RequestError: something does not fit; the text lists all of it.
    """
    spec = recipe.dataset.sample_spec()
    if spec != weights.info.samples:
        raise RequestError(f"{source}: makes images of {weights.info.samples}, but its recipe has a dataset of {spec}")
    expected = expected_tensors(recipe, manager, weights.info)
    if "generator" not in weights.networks:
        raise RequestError(f"{source}: holds no generator")
    origins = {row.target: f"{row.source} → {row.target}" for row in weights.assignments}
    problems = [f"{name}: is no network that a run holds" for name in weights.networks if name not in expected]
    for name in filter(weights.networks.__contains__, expected):
        tensors = weights.networks[name]
        infinite = [key for key, tensor in tensors.items() if not tensor.isfinite().all()]
        wrong = dict.fromkeys(infinite, "holds values that are not finite numbers") | misfits(tensors, expected[name])
        problems += [f"{origins.get(f'{name}.{key}', f'{name}.{key}')}: {why}" for key, why in wrong.items()]
    if problems:
        raise RequestError("\n".join([f"{source}: its weights do not fit:", *(f"  {each}" for each in problems)]))


def _summary(weights: ImportedWeights, origin: Mapping[str, Any]) -> dict[str, Any]:
    """Return the summary of a run of 0 steps, with the origin of every tensor."""
    return {
        "status": "imported",
        "steps": 0,
        "total_steps": 0,
        "epoch": 0.0,
        "seconds": 0.0,
        "images_per_second": {},
        "metrics": {},
        "scores": {"best": {}, "last": {}},
        "imported": {**origin, "notes": list(weights.notes), "tensors": [asdict(row) for row in weights.assignments]},
    }
