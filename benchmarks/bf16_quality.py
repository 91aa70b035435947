"""Does bf16 cost quality? The same recipe in fp32 and in bf16 with the same seeds, scored alike.

    python benchmarks/bf16_quality.py recipes/dcgan_mnist.toml --set run.steps=1000 --set generator.width=32

Trains every seed in both precisions, one run after the other, and scores 2,000 samples of each. Figures go to a JSON
file, and a run that is in it already is not repeated, so that the command can be stopped and given again. The verdict:
bf16 is as good where the means differ by no more than the seeds do within a precision.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import ganzoo
from ganzoo.storage.disk import write_text

SCORES = ("classes_covered", "fd_classifier", "confidence", "diversity")
"""Those that the table shows, as far as they are taken; where none is, it shows all that are."""
PRECISIONS = ("fp32", "bf16")


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--image-size", type=int, default=None, help="bring images to this size before they are scored")
    parser.add_argument("--out", type=Path, default=Path("bf16_quality.json"))
    options = parser.parse_args()
    asked = {
        "recipe": str(options.recipe),
        "overrides": options.overrides,
        "samples": options.samples,
        "image_size": options.image_size,
    }
    kept: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {"of": asked, "runs": {}}
    if kept.get("of") != asked:
        sys.exit(f"{options.out}: holds the figures of {kept.get('of')}: remove it, or name another with --out")
    for seed in range(options.seeds):
        for precision in PRECISIONS:
            name = f"{precision} seed {seed}"
            if name not in kept["runs"]:
                kept["runs"][name] = trained(options, precision, seed)
                write_text(options.out, json.dumps(kept, indent=2))
    print(table(kept["runs"], options.seeds))


def trained(options: argparse.Namespace, precision: str, seed: int) -> dict[str, Any]:
    """The scores of one run, and its last losses."""
    wanted = {
        "run.seed": seed,
        "device.precision": precision,
        "tracking.wandb.mode": "disabled",
        "samples.gif": "false",
    }
    run = ganzoo.run(options.recipe, [*options.overrides, *(f"{key}={value}" for key, value in wanted.items())])
    scores = ganzoo.evaluate(run, options.samples, image_size=options.image_size).scores
    losses = {key: value for key, value in run.metrics[-1].items() if key.startswith("loss/")}
    return {"scores": scores, **losses, "run": str(run.path)}


def table(found: dict[str, Any], seeds: int) -> str:
    """Each score in both precisions, and whether they differ by more than the seeds do."""
    lines = ["score            fp32                      bf16                      difference  spread  verdict"]
    runs = [[found[f"{precision} seed {seed}"]["scores"] for seed in range(seeds)] for precision in PRECISIONS]
    taken = [name for name in runs[0][0] if all(name in scores for of_one in runs for scores in of_one)]
    for score in [name for name in SCORES if name in taken] or taken:
        by_precision = [[scores[score] for scores in of_one] for of_one in runs]
        means = [statistics.mean(values) for values in by_precision]
        difference = means[1] - means[0]
        spread = max(max(values) - min(values) for values in by_precision)
        shown = (", ".join(f"{value:.3f}" for value in values) for values in by_precision)
        verdict = "as good" if abs(difference) <= spread else "differs"
        lines.append(f"{score:16} {next(shown):25} {next(shown):25} {difference:+10.3f} {spread:7.3f}  {verdict}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
