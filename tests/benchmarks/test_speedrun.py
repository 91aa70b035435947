"""benchmarks/speedrun: the record that ships holds, a doctored one is refused, and the judge is the frozen one."""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import shutil
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dataset_files import write_mnist
from safetensors.numpy import load_file, save_file
from scipy import stats
from sklearn.datasets import load_digits

from ganzoo.recipe.load import load_recipe
from ganzoo.registry.plugin_manager import PluginManager

SPEEDRUN = Path(__file__).parents[2] / "benchmarks" / "speedrun"
RECORDS = sorted((SPEEDRUN / "records").glob("*/record.json"))
PAGE = Path(__file__).parents[2] / "docs" / "pages" / "speedrun.md"
OF = {"baseline": "baseline.py", "contestant": "cpu.toml"}
NETWORKS = ("generator", "discriminator")
RUNS = {"baseline": 2, "contestant": 5}
DISCRIMINATOR = '[discriminator]\nname = "dcgan_authors_mnist"\nwidth = 16\ndense_width = 256\n'
STEPS = {"baseline": 10, "contestant": 300}
MACHINE = {"processor": "some, AVX512", "cores": 2, "threads": 1, "device": "cpu", "torch": "2.14.1"}
UNDER = {"machine": MACHINE, "data": {"images": 130}}


@pytest.fixture(scope="module")
def module() -> Iterator[Callable[[str], ModuleType]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SPEEDRUN))
        yield importlib.import_module


@pytest.fixture
def verify(module: Callable[[str], ModuleType]) -> ModuleType:
    return module("verify")


@pytest.fixture
def judge(module: Callable[[str], ModuleType]) -> ModuleType:
    return module("judge")


@pytest.fixture(scope="module")
def made(module: Callable[[str], ModuleType], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record of runs that took no time to make: the baseline draws noise, the contestant scikit-learn's digits."""
    work, record = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("records") / "made"
    rng = np.random.default_rng(0)
    digits = np.kron(load_digits().images[:1000] * 15.9, np.ones((3, 3))).astype(np.uint8)
    for who, count in RUNS.items():
        for seed in range(count):
            folder = work / f"{who}-{seed}"
            folder.mkdir()
            noise = rng.integers(0, 256, (200, 64, 64), dtype=np.uint8)
            np.save(folder / "samples.npy", noise if who == "baseline" else digits[200 * seed : 200 * (seed + 1)])
            seconds = (100 if who == "baseline" else 5) + seed / 10
            told = {"seed": seed, "steps": STEPS[who], "seconds": seconds, "cpu": seconds - 0.1}
            (folder / "log.txt").write_text(f"trained in {folder}\n{json.dumps(told)}\n")
            run = {
                "who": who,
                "seed": seed,
                "wall": seconds + 0.2,
                "cpu": seconds,
                "load": 0.5,
                "samples": "of no file",
                "under": UNDER if who == "baseline" else {**UNDER, "code": "abc1234"},
                "of": hashlib.sha256((SPEEDRUN / OF[who]).read_bytes()).hexdigest(),
            }
            (folder / "run.json").write_text(json.dumps(run))
    measured = module("record")
    counts = {"baselines": RUNS["baseline"], "runs": RUNS["contestant"]}
    measured.write(
        Namespace(
            record=record, recipe=measured.RECIPES["cpu"], work=work, root="data", track="cpu", threads=1, **counts
        )
    )
    return record


@pytest.fixture
def record(made: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((made / "record.json").read_text())
    return found


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "record")
    return tmp_path / "record"


class TestVerify:
    @pytest.mark.parametrize("path", RECORDS, ids=[path.parent.name for path in RECORDS])
    def test_the_records_that_ship_hold(self, verify: ModuleType, path: Path) -> None:
        assert [*verify.problems(path.parent, json.loads(path.read_text()))] == []

    @pytest.mark.parametrize("path", RECORDS, ids=[path.parent.name for path in RECORDS])
    def test_the_page_shows_them(self, module: Callable[[str], ModuleType], path: Path) -> None:
        record, page = module("record"), PAGE.read_text(encoding="utf-8")
        assert page == record.with_record(page, json.loads(path.read_text())), "run record.py with --page"

    def test_the_page_takes_a_record(self, module: Callable[[str], ModuleType], record: dict[str, Any]) -> None:
        page = module("record").with_record(PAGE.read_text(encoding="utf-8"), record)
        assert "torch 2.14.1, threads on either side: 1, 130 training images, ganzoo at abc1234. Score " in page
        assert "| baseline, seed 1 |" in page
        assert "| contestant, seed 4 |" in page

    def test_a_record_as_it_was_written_holds(
        self, verify: ModuleType, made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("sys.argv", ["verify.py", str(made)])
        verify.main()
        assert f"{made}: nothing wrong" in capsys.readouterr().out
        assert (made / "logs" / "contestant-2.txt").read_text().splitlines()[0] == "trained in WORK/contestant-2"
        assert {path.name for path in made.iterdir()} == {
            "baseline.png",
            "contestant.png",
            "logs",
            "recipe.toml",
            "record.json",
            "statistics.safetensors",
        }

    def test_a_doctored_one_ends_with_1(
        self, verify: ModuleType, copied: Path, record: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record["result"]["wall_ratio"] = 99.0
        (copied / "record.json").write_text(json.dumps(record))
        monkeypatch.setattr("sys.argv", ["verify.py", str(copied)])
        with pytest.raises(SystemExit) as ended:
            verify.main()
        assert ended.value.code == 1

    @pytest.mark.parametrize(
        ("doctored", "told"),
        [
            (lambda runs: runs[-1].update(score=runs[-1]["score"] / 2), "by its statistics, and the record says"),
            (lambda runs: runs[-1].update(wall=runs[-1]["wall"] / 2), "s by the record, and its log says"),
            (lambda runs: runs[0].update(wall=runs[0]["wall"] * 2), "s by the record, and its log says"),
            (lambda runs: runs[-1].update(cpu=runs[-1]["cpu"] / 2), "s of processor time by the record, and its log"),
            (lambda runs: runs[0].update(cpu=runs[0]["cpu"] * 2), "s of processor time by the record, and its log"),
            (lambda runs: runs[-1].update(score=math.nan), "by its statistics, and the record says nan"),
            (lambda runs: runs[-1].update(of=runs[0]["of"]), "is of another program or recipe"),
            (lambda runs: runs.pop(2), "none left out"),
            (lambda runs: [runs.pop() for _ in range(len(runs) - 4)], "at least 5"),
            (lambda runs: runs[-1].update(seed=99), "none left out"),
        ],
    )
    def test_other_figures_of_a_run_are_refused(
        self, verify: ModuleType, made: Path, record: dict[str, Any], doctored: Callable[[list[Any]], object], told: str
    ) -> None:
        doctored(record["runs"])
        assert any(told in each for each in verify.problems(made, record))

    @pytest.mark.parametrize("key", ["bar", "score", "wall_ratio", "p_score", "p_wall", "p_cpu"])
    def test_another_result_is_refused(self, verify: ModuleType, made: Path, record: dict[str, Any], key: str) -> None:
        record["result"][key] = record["result"][key] * 0.5 + 1e-3
        assert any(each.startswith(f"{key} is ") for each in verify.problems(made, record))

    @pytest.mark.parametrize("name", ["judge.safetensors", "baseline.py"])
    def test_another_judge_or_baseline_is_refused(
        self, verify: ModuleType, made: Path, record: dict[str, Any], name: str
    ) -> None:
        record["frozen"][name] = "0" * 64
        assert f"{name} is not the one that the record was measured with" in [*verify.problems(made, record)]

    def test_another_recipe_is_refused(self, verify: ModuleType, record: dict[str, Any], copied: Path) -> None:
        recipe = copied / "recipe.toml"
        recipe.write_text(recipe.read_text().replace("steps = ", "steps = 1"))
        assert "recipe.toml is not the one that was measured" in [*verify.problems(copied, record)]

    @pytest.mark.parametrize(
        ("before", "after", "told"),
        [
            ('"mnist"', '"fashion_mnist"', "trains on fashion_mnist, train: must be mnist's training split"),
            ('"mnist"', '"mnist"\nsplit = "test"', "trains on mnist, test: must be mnist's training split"),
            ("[plugins]", '[plugins]\nfiles = ["mine.py"]', "takes code from files"),
            (
                "[dataset]",
                '[init]\nfrom = "runs/a/0001"\n[dataset]',
                "trained before, by init.from (runs/a/0001): leave",
            ),
            (
                DISCRIMINATOR,
                "[discriminator]\nname = 'projected'\n",
                "trained before, by discriminator.weights (DEFAULT)",
            ),
            (
                'requires = ["',
                'requires = ["ganzoo-of-mine", "',
                "plugin ganzoo-of-mine, which is not in the reposi",
            ),
            ("[dataset]", "[dataset", "recipe.toml cannot be used: "),
            ("[dataset]", "[dates]", "recipe.toml cannot be used: "),
            ("[run]", "run = 1\n[ran]", "recipe.toml cannot be used: "),
        ],
    )
    def test_a_recipe_against_the_rules_is_refused(
        self, verify: ModuleType, record: dict[str, Any], copied: Path, before: str, after: str, told: str
    ) -> None:
        recipe = copied / "recipe.toml"
        recipe.write_text(recipe.read_text().replace(before, after, 1))
        assert any(told in each for each in verify.problems(copied, record))

    @pytest.mark.parametrize(
        ("score", "evaluation", "told"),
        [
            (
                "fd_classifier",
                'real = {split = "test"}',
                "other images while training, by evaluation.real: leave it out",
            ),
            ("fd_classifier", 'held_out = {split = "test"}', "other images while training, by evaluation.held_out"),
            ("fid", 'extractors = [{name = "inception"}]', "by evaluation.extractors.0.weights (its default): set"),
            (
                "fd_dcgan_discriminator",
                'extractors = [{name = "dcgan_discriminator", run = "runs/a/0001"}]',
                "extractors.0.run (runs/a/0001)",
            ),
        ],
    )
    def test_nothing_else_decides_when_the_training_ends(
        self, verify: ModuleType, tmp_path: Path, score: str, evaluation: str, told: str
    ) -> None:
        text = (SPEEDRUN / "cpu.toml").read_text()
        target = f'steps = 300\ntarget = {{score = "{score}", below = 30}}'
        for every, expected in (("every = 100", [told]), ("", [])):
            lines = text if not every else text.replace("steps = 300", target, 1)
            (tmp_path / "recipe.toml").write_text(f"{lines}\n[evaluation]\n{every}\n{evaluation}\n")
            found = [*verify.recipe_problems(tmp_path / "recipe.toml")]
            assert [part in each for part, each in zip(expected, found, strict=True)] == [True] * len(expected), found
        (tmp_path / "recipe.toml").write_text(
            f"{text.replace('steps = 300', target.replace(score, 'fd_classifier'), 1)}\n[evaluation]\nevery = 100\n"
        )
        assert [*verify.recipe_problems(tmp_path / "recipe.toml")] == []

    def test_weights_by_default_in_a_list_of_tables_are_refused(self, verify: ModuleType, tmp_path: Path) -> None:
        text = (SPEEDRUN.parents[1] / "recipes" / "fastgan_digits.toml").read_text().replace('"digits"', '"mnist"')
        recipe, penalty = tmp_path / "recipe.toml", '"reconstruction"\ndistance = "perceptual"'
        recipe.write_text(text.replace('"reconstruction"', penalty))
        (found,) = verify.recipe_problems(recipe)
        assert found == (
            "recipe.toml takes weights that were trained before, by penalties.1.vgg_weights (DEFAULT): "
            'set it to "random"'
        )
        recipe.write_text(text.replace('"reconstruction"', f'{penalty}\nvgg_weights = "random"'))
        assert [*verify.recipe_problems(recipe)] == []

    def test_a_component_of_another_plugin_is_refused(
        self, verify: ModuleType, manager: PluginManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "mine.py").write_text(
            "from ganzoo.plugin import NonSaturating, hookimpl\n"
            "@hookimpl\n"
            "def register_losses(register):\n"
            "    register('mine', NonSaturating)\n"
        )
        recipe = tmp_path / "recipe.toml"
        recipe.write_text((SPEEDRUN / "cpu.toml").read_text().replace('"non_saturating"', '"mine"'))
        monkeypatch.setattr(verify, "plugin_manager", lambda: manager.with_files([tmp_path / "mine.py"]))
        (found,) = verify.recipe_problems(recipe)
        assert 'takes "mine" of mine.py' in found

    @pytest.mark.parametrize(
        ("name", "before", "after"),
        [
            ("baseline-1", '"steps": 10', '"steps": 4'),
            ("contestant-1", '"steps": 300', '"steps": 900'),
            ("contestant-1", '"seconds"', '"minutes"'),
            ("contestant-1", '"cpu"', '"gpu"'),
        ],
    )
    def test_a_log_of_another_length_or_without_times_is_refused(
        self, verify: ModuleType, record: dict[str, Any], copied: Path, name: str, before: str, after: str
    ) -> None:
        log = copied / "logs" / f"{name}.txt"
        log.write_text(log.read_text().replace(before, after))
        assert [each.partition(":")[0] for each in verify.problems(copied, record)] == [name]

    @pytest.mark.parametrize(
        ("doctor", "told"),
        [
            (lambda record: record["runs"][3].update(seed=7), "contestant-7: statistics.safetensors lacks mean and"),
            (lambda record: record["runs"].append(record["runs"][-1] | {"seed": 5}), "contestant-5: took 5.60 s by"),
            (lambda record: record["runs"][0].update(who="me"), "record.json, runs.0.who: Input should be 'baseline'"),
            (
                lambda record: record["runs"][0].update(wall="5"),
                "record.json, runs.0.wall: Input should be a valid num",
            ),
            (lambda record: record["runs"][0].pop("of"), "record.json, runs.0.of: Field required"),
            (lambda record: [record["runs"].pop(0) for _ in range(2)], "the baseline's seeds are []: must be"),
            (lambda record: record.pop("frozen"), "record.json, frozen: Field required"),
            (lambda record: record["frozen"].clear(), "judge.safetensors is not the one that the record was measured"),
            (
                lambda record: record["result"].update(p_score=None),
                "record.json, result.p_score: Input should be a val",
            ),
            (lambda record: record["result"].pop("p_score"), "by the runs, and the record says nan"),
        ],
    )
    def test_a_record_of_another_shape_is_refused_in_words(
        self, verify: ModuleType, made: Path, record: dict[str, Any], doctor: Callable[[Any], object], told: str
    ) -> None:
        doctor(record)
        assert any(told in each for each in verify.problems(made, record))

    @pytest.mark.parametrize(
        ("name", "content", "told"),
        [
            ("record.json", '{"runs": [', "record.json cannot be read: Expecting value"),
            ("record.json", "[]", "Input should be a valid dictionary"),
            ("record.json", None, "record.json cannot be read: "),
            ("recipe.toml", "[run", "recipe.toml cannot be used: "),
            ("recipe.toml", None, "there is no such recipe file"),
            ("statistics.safetensors", "no tensors", "the scores cannot be computed again: "),
            ("statistics.safetensors", None, "the scores cannot be computed again: "),
            ("logs/contestant-2.txt", 'begun\n{"seed": 2, "st', "contestant-2: took 5.40 s by the record, and its log"),
            ("logs/contestant-2.txt", '{"seed": 2, "seconds": "5.2"}', "contestant-2: took 5.40 s by the record, and"),
        ],
    )
    def test_a_damaged_file_is_told_beside_what_else_is_wrong(
        self,
        verify: ModuleType,
        copied: Path,
        record: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        name: str,
        content: str | None,
        told: str,
    ) -> None:
        record["frozen"]["baseline.py"] = "0" * 64
        (copied / "record.json").write_text(json.dumps(record))
        (copied / name).unlink()
        if content is not None:
            (copied / name).write_text(content)
        monkeypatch.setattr("sys.argv", ["verify.py", str(copied)])
        with pytest.raises(SystemExit) as ended:
            verify.main()
        assert ended.value.code not in (None, 0)  # the interpreter prints one that is a text, and ends with 1
        found = f"{capsys.readouterr().out}{ended.value.code}"
        assert told in found
        assert name == "record.json" or "baseline.py is not the one that the record was measured with" in found

    def test_samples_that_are_none_are_told(self, verify: ModuleType, tmp_path: Path) -> None:
        file = tmp_path / "samples.npy"
        for content in (b"", b"no array"):
            file.write_bytes(content)
            (found,) = verify.samples_problems(file, {"samples": verify.sha256(file), "score": 1.0})
            assert found.startswith(f"{file}: cannot be judged: ")

    def test_one_run_for_two_seeds_is_refused(self, verify: ModuleType, record: dict[str, Any], copied: Path) -> None:
        file = copied / "statistics.safetensors"
        features = load_file(file)
        for kind in ("mean", "covariance"):
            features[f"contestant-4.{kind}"] = features[f"contestant-1.{kind}"]
        save_file(features, file)
        assert "contestant-4: has the same samples as contestant-1" in [*verify.problems(copied, record)]

    def test_code_of_no_commit_is_refused(self, verify: ModuleType, made: Path, record: dict[str, Any]) -> None:
        assert record["code"] == "abc1234"
        record["code"] = "abc1234, changed"
        assert any("changes that no commit has" in each for each in verify.problems(made, record))

    def test_another_log_is_refused(self, verify: ModuleType, record: dict[str, Any], copied: Path) -> None:
        (copied / "logs" / "contestant-3.txt").unlink()
        assert any(each.startswith("contestant-3: took ") for each in verify.problems(copied, record))

    def test_other_samples_are_refused(
        self, verify: ModuleType, made: Path, record: dict[str, Any], tmp_path: Path
    ) -> None:
        (tmp_path / "contestant-0").mkdir()
        np.save(tmp_path / "contestant-0" / "samples.npy", np.zeros((5000, 28, 28), np.uint8))
        found = [*verify.problems(made, record, tmp_path)]
        assert f"{tmp_path / 'contestant-0' / 'samples.npy'}: is not what was judged" in found
        assert f"{tmp_path / 'baseline-0' / 'samples.npy'}: is not there" in found

    def test_too_slow_or_too_bad_is_no_record(self, verify: ModuleType) -> None:
        def runs(score: float, seconds: float) -> list[dict[str, Any]]:
            ours = [
                {
                    "who": "contestant",
                    "score": score + 0.1 * seed,
                    "wall": seconds + 0.1 * seed,
                    "cpu": seconds + 0.1 * seed,
                }
                for seed in range(5)
            ]
            return [{"who": "baseline", "score": 10.0, "wall": 100.0, "cpu": 100.0}, *ours]

        wrong = {each.partition(" is ")[0] for each in verify.misses(verify.result(runs(9.9, 11.0)))}
        assert wrong == {"p_score", "wall_ratio", "cpu_ratio", "p_wall", "p_cpu"}

    def test_p_is_of_students_test_against_the_best_baseline(self, verify: ModuleType) -> None:
        scores, times = np.array([8.0, 9.0, 8.5, 9.5, 8.2]), np.array([9.0, 9.1, 9.2, 9.3, 9.4])
        runs = [{"who": "baseline", "score": bar, "wall": wall, "cpu": 2 * wall} for bar, wall in ((11, 120), (10, 99))]
        runs += [
            {"who": "contestant", "score": score, "wall": wall, "cpu": wall}
            for score, wall in zip(scores, times, strict=True)
        ]
        found = verify.result(runs)
        for key, values, limit in (("score", scores, 10), ("wall", times, 9.9), ("cpu", times, 19.8)):
            t = (values.mean() - limit) / (values.std(ddof=1) / math.sqrt(5))
            assert found[f"p_{key}"] == pytest.approx(stats.t.cdf(t, 4), rel=1e-6)
        assert found["wall_ratio"] == pytest.approx(99 / 9.2)
        assert found["bar"] == 10


class TestJudge:
    def test_another_file_is_refused(self, judge: ModuleType, tmp_path: Path) -> None:
        data = bytearray(judge.FILE.read_bytes())
        data[-1] ^= 1
        (tmp_path / "judge.safetensors").write_bytes(data)
        with pytest.raises(ValueError, match="restore the file"):
            judge.load_judge(tmp_path / "judge.safetensors")

    def test_it_is_small_and_frozen(self, judge: ModuleType) -> None:
        network, mean, covariance = judge.load_judge()
        assert judge.FILE.stat().st_size < 300_000
        assert mean.shape == (64,)
        assert np.allclose(covariance, covariance.T)
        features = network.features(np.zeros((3, 64, 64), np.uint8))
        assert features.shape == (3, 64)
        assert np.ptp(features, axis=0).max() == 0

    def test_what_was_enlarged_comes_back(self, judge: ModuleType) -> None:
        digits = torch.from_numpy(load_digits().images[:8] * 15.9).byte()
        small = F.interpolate(digits[:, None].float(), 28, mode="bilinear")
        large = F.interpolate(small, 64, mode="bilinear").round().byte()[:, 0]
        assert (judge.at_28(large) * 255 - small).abs().max() < 2

    def test_the_better_way_to_28_pixels_counts(self, judge: ModuleType) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (200, 64, 64), dtype=np.uint8)
        network, mean, covariance = judge.load_judge()
        each = [
            judge.frechet(judge.statistics_of(network.features(noise, way)), (mean, covariance)) for way in judge.WAYS
        ]
        assert judge.judged(noise)[2] == min(each) < max(each)

    def test_frechet_is_that_of_gaussians(self, judge: ModuleType) -> None:
        rng = np.random.default_rng(0)
        shift = rng.normal(size=3)
        covariance = np.cov(rng.normal(size=(3, 50)))
        assert judge.frechet((shift, covariance), (0 * shift, covariance)) == pytest.approx((shift**2).sum())
        deviations, others = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 5.0])
        same = np.zeros(3)
        found = judge.frechet((same, np.diag(deviations**2)), (same, np.diag(others**2)))
        assert found == pytest.approx(((deviations - others) ** 2).sum())

    def test_it_scores_so_many_samples_alone(self, judge: ModuleType) -> None:
        with pytest.raises(ValueError, match=r"must be uint8 \(5000, S, S\)"):
            judge.score(np.zeros((4999, 28, 28), np.uint8))


class TestSides:
    def test_the_baseline_trains_and_draws(self, module: Callable[[str], ModuleType], tmp_path: Path) -> None:
        write_mnist(tmp_path, train=130)
        baseline = module("baseline")
        generator, steps = baseline.train(str(tmp_path), 2, 1, torch.device("cpu"))
        samples = baseline.draw(generator, 5, torch.device("cpu"))
        assert steps == 2
        assert (samples.shape, samples.dtype) == ((5, 64, 64), np.uint8)

    def test_the_contestant_trains_and_draws(
        self,
        module: Callable[[str], ModuleType],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        write_mnist(tmp_path, train=40)
        out = tmp_path / "samples.npy"
        smaller = [
            f"{network}.{key}={size}" for network in NETWORKS for key, size in (("width", 2), ("dense_width", 4))
        ]
        changes = [word for each in ("run.steps=2", *smaller) for word in ("--set", each)]
        arguments = ["--root", str(tmp_path), "--out", str(out), "--samples", "20", "--seed", "3", *changes]
        monkeypatch.setattr("sys.argv", ["contestant.py", str(SPEEDRUN / "cpu.toml"), *arguments])
        module("contestant").main()
        samples, told = np.load(out), json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (samples.shape, samples.dtype) == ((20, 28, 28), np.uint8)
        assert (told["seed"], told["steps"]) == (3, 2)

    @pytest.mark.parametrize("track", ["cpu", "cuda"])
    def test_the_recipes_are_right(
        self, module: Callable[[str], ModuleType], manager: PluginManager, track: str
    ) -> None:
        recipe, _ = load_recipe(module("record").RECIPES[track], manager)
        assert recipe.dataset.name == "mnist"

    def test_a_run_is_given_no_plugin_files(
        self, module: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GANZOO_PLUGIN_FILES", "mine.py")
        found = module("record").environment(Namespace(threads=3), "cache")
        assert "GANZOO_PLUGIN_FILES" not in found
        assert (found["OMP_NUM_THREADS"], found["GANZOO_CACHE"]) == ("3", "cache")

    def test_a_recipe_against_the_rules_is_not_measured(
        self, module: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recipe = tmp_path / "recipe.toml"
        recipe.write_text((SPEEDRUN / "cpu.toml").read_text().replace('"mnist"', '"mnist"\nsplit = "test"'))
        arguments = [str(tmp_path / "record"), "--root", str(tmp_path), "--recipe", str(recipe)]
        monkeypatch.setattr("sys.argv", ["record.py", *arguments, "--work", str(tmp_path / "work")])
        with pytest.raises(SystemExit, match="must be mnist's training split"):
            module("record").main()
        assert not (tmp_path / "work").exists()

    @pytest.mark.parametrize("name", ["baseline-0", "contestant-0"])
    def test_a_run_of_other_conditions_is_measured_again(
        self, module: Callable[[str], ModuleType], tmp_path: Path, name: str
    ) -> None:
        record = module("record")
        write_mnist(tmp_path, train=130)
        common = {"work": tmp_path / "work", "recipe": record.RECIPES["cpu"], "track": "cpu"}
        options = Namespace(root=str(tmp_path), threads=1, **common)
        run = {"of": record.sha256(record.program(options, name)), "under": record.conditions(options, name)}
        (tmp_path / "work" / name).mkdir(parents=True)
        (tmp_path / "work" / name / "run.json").write_text(json.dumps(run))
        assert run["under"]["data"]["images"] == 130
        assert record.is_measured(options, name)
        assert not record.is_measured(Namespace(root=str(tmp_path), threads=2, **common), name)
        write_mnist(tmp_path, train=140)
        assert not record.is_measured(options, name)

    def test_both_sides_take_turns(self, module: Callable[[str], ModuleType]) -> None:
        assert module("record").spread(2, 4) == [
            "contestant-0",
            "baseline-0",
            "contestant-1",
            "contestant-2",
            "baseline-1",
            "contestant-3",
        ]
