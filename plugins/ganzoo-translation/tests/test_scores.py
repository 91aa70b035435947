"""The distance from targets, in each direction."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ganzoo_export import export_run
from test_trainers import tables_of

import ganzoo
from ganzoo.data.packed_dataset import example_batch
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.plugin import differences


@pytest.mark.parametrize("seed", [0, 1])
def test_l1_is_the_mean_difference_from_the_targets(tmp_path: Path, seed: int) -> None:
    run = ganzoo.run(tables_of("pix2pix", tmp_path, evaluation={"metrics": ["l1"], "samples": 40}))
    found = ganzoo.evaluate(run, seed=seed)
    assert found.evaluations[0][0].directions == {"l1": "lower"}
    order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
    batch = example_batch(run.training_set(), order)
    samples = run.images(run.latents(40, seed=seed), condition=batch.condition)
    assert found.scores["l1"] == pytest.approx((samples - batch.real).abs().mean().item(), abs=1e-5)


def test_each_seed_is_scored_against_the_targets_of_its_own_conditions(tmp_path: Path) -> None:
    run = ganzoo.run(tables_of("pix2pix", tmp_path, evaluation={"metrics": ["l1"], "samples": 40}))
    both = [found.scores["l1"] for (found,) in ganzoo.evaluate(run, seeds=2).evaluations]
    assert both == pytest.approx([ganzoo.evaluate(run, seed=seed).scores["l1"] for seed in (0, 1)])


def test_scores_of_other_conditions_are_not_comparable(tmp_path: Path) -> None:
    run = ganzoo.run(tables_of("pix2pix", tmp_path, evaluation={"metrics": ["l1"], "samples": 40}))
    limits = ({}, {"limit": 20}, {"limit": 19}, {"limit": 19})
    found = [ganzoo.evaluate(run, overrides={"evaluation.real": limit}) for limit in limits]
    assert len({each.scores["l1"] for each in found}) == 3
    cards = [each.evaluations[0][0].card for each in found]
    assert [each.field for each in differences(cards[:3])] == ["samples.conditions"]
    assert differences(cards[2:]) == []


def test_unpaired_domains_are_scored_against_the_pairs_that_they_are_made_of(tmp_path: Path) -> None:
    evaluation = {"metrics": ["l1", "diversity"], "samples": 40}
    run = ganzoo.run(tables_of("cyclegan", tmp_path, evaluation=evaluation))
    assert "l1" not in ganzoo.evaluate(run).scores
    aligned = {"evaluation.real": {"pairing": "aligned"}}
    there = ganzoo.evaluate(run, overrides=aligned)
    back = ganzoo.evaluate(ganzoo.load_run(run.path, network="generator_back"), overrides=aligned)
    assert 0 < there.scores["l1"] != back.scores["l1"] > 0
    cards = [each.evaluations[0][0].card for each in (there, back)]
    assert [card.samples.network for card in cards] == ["generator", "generator_back"]
    assert "samples.network" in [each.field for each in differences(cards)]
    export_run(run, tmp_path / "there")
    assert "l1 |" in (tmp_path / "there" / "README.md").read_text()


def test_an_export_of_the_way_back_has_no_scores_of_the_way_there_and_opens(tmp_path: Path) -> None:
    run = ganzoo.run(tables_of("cyclegan", tmp_path, evaluation={"metrics": ["diversity"], "samples": 40}))
    ganzoo.evaluate(run)
    back = ganzoo.load_run(run.path, network="generator_back")
    export_run(back, tmp_path / "back", discriminator=True)
    assert "have not been evaluated" in (tmp_path / "back" / "README.md").read_text()
    opened = ganzoo.load_export(tmp_path / "back")
    assert opened.network == "generator_back"
    assert sorted(opened.checkpoint.networks()) == ["discriminator", "discriminator_back", "generator_back"]


def test_all_conditions_are_taken_where_there_are_more_than_targets(tmp_path: Path) -> None:
    domains = {"name": "two_domains", "source": {"name": "synthetic", "count": 5}, "conditions": {"name": "digits"}}
    tables = tables_of("cyclegan", tmp_path, evaluation={"metrics": ["diversity"], "samples": 200})
    run = ganzoo.run(tables | {"dataset": {**domains, "image_size": 16}}, ["run.steps=1", "trainer.batch_size=2"])
    seen = []

    def note(module: torch.nn.Module, latents: object, inputs: dict[str, torch.Tensor]) -> None:
        seen.append(inputs["condition"])

    generator = run.generator
    generator.register_forward_pre_hook(note, with_kwargs=True)
    evaluator = Evaluator(run.recipe, run.manager, torch.device("cpu"))
    evaluator.evaluate(generator, weights="raw", run="", step=1)
    assert len(torch.cat(seen).unique(dim=0)) > 190
