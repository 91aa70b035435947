"""Registers metrics and extractors with ganzoo."""

from __future__ import annotations

from ganzoo.plugin import Registrar, hookimpl
from ganzoo_metrics import configs

EXTRACTORS = "ganzoo_metrics.extractors"
METRICS = "ganzoo_metrics.metrics"


@hookimpl
def register_extractors(register: Registrar) -> None:
    """FID's Inception, a classifier of the dataset's own, and torchvision's."""
    register("classifier", f"{EXTRACTORS}:ClassifierFeatures", config=configs.ClassifierConfig)
    register("inception", f"{EXTRACTORS}:Inception", config=configs.InceptionConfig)
    register("torchvision", f"{EXTRACTORS}:TorchvisionBackbone", config=configs.TorchvisionBackboneConfig)


@hookimpl
def register_metrics(register: Registrar) -> None:
    """Distances, manifolds and classes by features, and copies and diversity by pixels, in the order of reports."""
    register("frechet", f"{METRICS}:Frechet", config=configs.FrechetConfig)
    register("kernel", f"{METRICS}:Kernel", config=configs.KernelConfig)
    register("inception_score", f"{METRICS}:InceptionScore", config=configs.InceptionScoreConfig)
    register("precision_recall", f"{METRICS}:PrecisionRecall", config=configs.PrecisionRecallConfig)
    register("density_coverage", f"{METRICS}:DensityCoverage", config=configs.DensityCoverageConfig)
    register("class_coverage", f"{METRICS}:ClassCoverage", config=configs.ClassCoverageConfig)
    register("class_accuracy", f"{METRICS}:ClassAccuracy", config=configs.ClassAccuracyConfig)
    register("memorization", f"{METRICS}:Memorization", config=configs.MemorizationConfig)
    register("diversity", f"{METRICS}:Diversity", config=configs.DiversityConfig)
