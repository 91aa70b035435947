"""Try every pip command that the project tells its users, and compare what the ways to install it come to.

    python .ci/installs.py lines PIP... --into PYTHON      each command of `LINES`, as a dry run of each pip
    python .ci/installs.py sets PIP... --wheels FOLDER     wheels, editable installs and folders, in any order
    python .ci/installs.py lowest                          print the lowest versions, as constraints of pip

PIP is a pip executable, the oldest first, with hatchling beside it; PYTHON is the interpreter of an environment in
which ganzoo and hatchling are installed; FOLDER has the wheels of all distributions. Folders are resolved without an
environment of their own for hatchling: pip makes sixteen of those for each of the README's commands, run for real.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))

LINES: dict[str, str] = {
    "pip install . ./plugins/*": "checkout",
    'pip install -e . -e ".[dev]" ./plugins/*': "checkout",
    'pip install -e . -e ".[dev,docs]" $(printf -- "-e %s " plugins/*)': "checkout",
    'pip install ".[docs]"': "checkout",
    'pip install ".[jpeg]"': "checkout",
    'pip install "./plugins/ganzoo-trackers[reports]"': "checkout",
    "pip install tensorboard": "anywhere",
    "pip install trackio": "anywhere",
    "pip install mlflow": "anywhere",
    'pip install "./plugins/ganzoo-export[onnx]"': "checkout",
    'pip install "./plugins/ganzoo-datasets[huggingface]"': "checkout",
    'pip install "./plugins/ganzoo-datasets[lsun]"': "checkout",
    "pip install lmdb": "anywhere",
    "pip install onnx onnxscript onnxruntime": "anywhere",
    "pip install playwright": "anywhere",
    "pip install wandb-workspaces": "anywhere",
    "pip install -e .": "plugin",
    'pip install -e ".[test]"': "plugin",
    "pip install -e '.[test]'": "plugin",
    'pip install ./ganzoo ./ganzoo/plugins/* -e ".[test]"': "beside ganzoo",
}
"""Each command as the README, the docs, templates and messages have it, and the folder that it is meant for."""


def try_lines(pips: list[str], python: str) -> list[str]:
    """Run each command of `LINES` with `--dry-run`; returns what failed."""
    failures = []
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    run_for_real = {(pips[0], "pip install . ./plugins/*"), (pips[-1], 'pip install -e . -e ".[dev]" ./plugins/*')}
    with tempfile.TemporaryDirectory() as made:
        plugin = Path(made, "plugin")
        written = [python, "-m", "ganzoo", "new-plugin", "ganzoo-brandnew", "--out", str(plugin)]
        subprocess.run(written, check=True, capture_output=True)
        (plugin / "ganzoo").symlink_to(ROOT)
        folders = {"checkout": ROOT, "anywhere": Path(made), "plugin": plugin, "beside ganzoo": plugin}
        for pip in pips:
            for line, folder in LINES.items():
                # An old pip downloads every wheel whole to resolve it, so it tries just what authors and readers type.
                if pip != pips[-1] and folder in ("checkout", "anywhere") and line not in readme:
                    continue
                if (pip, line) in run_for_real:  # by .ci/run
                    continue
                # What is installed already must not stand in for what the command itself has to find.
                options = "--quiet --dry-run"
                if "plugins/*" in line:
                    options += " --ignore-installed --no-build-isolation"
                command = line.replace("pip install", f"{pip} --python {python} install {options}", 1)
                ended = subprocess.run(
                    ["bash", "-c", command], cwd=folders[folder], capture_output=True, text=True, check=False
                )
                print("FAILED" if ended.returncode else "ok    ", f"{version(pip)}: {line}", flush=True)
                if ended.returncode:
                    failures.append(f"{version(pip)}: {line}\n{ended.stderr[-2000:]}")
    return failures


def compare_sets(pips: list[str], built: Path) -> list[str]:
    """Resolve every way to install all distributions, some of them with all but the last pip; returns what differs."""
    extras = ",".join(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    failures = []
    (core,), wheels = built.glob("ganzoo_core-*.whl"), sorted(map(str, built.glob("*.whl")))
    if len(wheels) != 1 + len(PLUGINS):
        return [f"{built}: {len(wheels)} wheels, of {1 + len(PLUGINS)} distributions"]
    with tempfile.TemporaryDirectory() as made:
        folders = list(map(str, [ROOT, *PLUGINS]))
        for extra in ("", f"[{extras}]"):
            of_wheels = [*wheels, *([f"{core}{extra}"] if extra else [])]
            of_folders = [*folders, *([f"{ROOT}{extra}"] if extra else [])]
            ways = {
                "wheels": of_wheels,
                "wheels, last first": of_wheels[::-1],
                "editable": [word for folder in of_folders for word in ("-e", folder)],
                "editable, last first": [word for folder in of_folders[::-1] for word in ("-e", folder)],
                "folders, plugins first": [*of_folders[1:], of_folders[0]],
            }
            first: dict[str, str] = {}
            for pip in pips:
                for way, requirements in ways.items():
                    if pip != pips[-1] and (extra or way not in ("wheels", "editable, last first")):
                        continue  # older pips are slow to resolve; the last one tries every way
                    found = resolve(pip, requirements, Path(made))
                    first = first or found
                    same = found == first
                    print(
                        f"{'ok    ' if same else 'FAILED'} {version(pip)}: {len(found)} packages, {way} {extra}",
                        flush=True,
                    )
                    if not same:
                        failures.append(f"{version(pip)}, {way} {extra}: {sorted(found.items() ^ first.items())}")
    return failures


def lowest() -> list[str]:
    """Return the constraints, such as "rich==14.1", that hold each dependency to its lowest declared version."""
    declared: dict[str, list[str]] = {}
    for folder in [ROOT, *PLUGINS]:
        for requirement in tomllib.loads((folder / "pyproject.toml").read_text())["project"]["dependencies"]:
            name, version = requirement.split(",")[0].split(">=")
            if not name.startswith("ganzoo-"):
                declared.setdefault(name, []).append(version)
    return [f"{name}=={max(versions, key=numbers)}" for name, versions in sorted(declared.items())]


def numbers(version: str) -> list[int]:
    """Return a version's numbers, which order versions."""
    return [int(number) for number in version.split(".")]


def resolve(pip: str, requirements: list[str], folder: Path) -> dict[str, str]:
    """Names and versions of all packages that pip would install into an empty environment."""
    report = folder / "report.json"
    command = [pip, "install", "--quiet", "--dry-run", "--ignore-installed", "--no-build-isolation"]
    command += ["--report", str(report), *requirements]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    packages = [each["metadata"] for each in json.loads(report.read_text())["install"]]
    return {package["name"].lower().replace("_", "-"): package["version"] for package in packages}


def version(pip: str) -> str:
    """Name and version of a pip executable, such as "pip 22.3"."""
    said = subprocess.run([pip, "--version"], capture_output=True, text=True, check=True).stdout
    return " ".join(said.split()[:2])


def main() -> None:
    """Run what the command line asks for and leave with 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["lines", "sets", "lowest"])
    parser.add_argument("pips", nargs="*")
    parser.add_argument("--into", default=sys.executable)
    parser.add_argument("--wheels", type=Path, default=ROOT / "dist")
    given = parser.parse_args()
    if given.what == "lowest":
        print(*lowest(), sep="\n")
        return
    failures = try_lines(given.pips, given.into) if given.what == "lines" else compare_sets(given.pips, given.wheels)
    for failure in failures:
        print(failure, file=sys.stderr)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
