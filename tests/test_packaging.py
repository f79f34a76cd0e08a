"""The four rooms install whole, under one name, and import each other in one direction only."""

import ast
import graphlib
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from functools import cache
from importlib.metadata import entry_points, version
from pathlib import Path, PurePosixPath

import pytest

import metarl
from metarl.core.distribution import DISTRIBUTION

CHECKOUT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
ROOMS = {"metarl": "metarl", "metarl.envs": "envs", "metarl.policies": "policies", "metarl.experiments": "experiments"}
INSTALLED = Path(metarl.__file__).parent
# What each module of a room's top level, and each sub-package, may import of the others; ``ROOM.*`` stands for all of a
# room's. A lower floor never imports a higher one, and within a floor there are no circles.
ARROWS = {
    "metarl.core": "",
    "metarl.policies.networks": "core",
    "metarl.policies.attention": "core policies.networks",
    "metarl.policies.compression": "core policies.networks",
    "metarl.policies.gate": "policies.networks",
    "metarl.policies.normalization": "core policies.networks",
    "metarl.policies.methods": "core policies.networks policies.attention policies.compression policies.gate "
    "policies.normalization",
    "metarl.policies.advantages": "core",
    "metarl.policies.files": "core policies.networks policies.attention policies.gate policies.normalization "
    "policies.compression policies.methods policies.advantages",
    "metarl.policies.device": "core policies.networks policies.attention policies.compression policies.methods "
    "policies.advantages",
    "metarl.policies.controller": "core policies.networks policies.gate policies.normalization policies.methods "
    "policies.compression policies.files policies.device",
    "metarl.policies.classifier": "core policies.networks policies.methods policies.files policies.device",
    "metarl.policies.nested": "core policies.networks policies.normalization policies.compression policies.files "
    "policies.controller policies.classifier",
    "metarl.policies.recorder": "core policies.device policies.controller",
    "metarl.policies.export": (
        "core policies.networks policies.attention policies.compression policies.normalization policies.methods "
        "policies.gate policies.files policies.device policies.controller policies.classifier"
    ),
    "metarl.policies.loading": "core policies.networks policies.files policies.controller policies.classifier "
    "policies.nested",
    "metarl.policies.updates": "core policies.files policies.controller policies.loading",
    "metarl.envs": "",
    "metarl.envs.family": "core",
    "metarl.envs.drawing": "core envs.family",
    "metarl.envs.navigation": "core envs.family envs.drawing",
    "metarl.envs.mujoco": "core envs.family envs.drawing",
    "metarl.envs.task_env": "core envs.family",
    "metarl.envs.ranges": "core envs.family",
    "metarl.envs.observe_task": "envs.family",
    "metarl.envs.vector_env": "core envs.family",
    "metarl.envs.sb3": "core envs.family envs.vector_env",
    "metarl.envs.from_gymnasium": "core envs.family",
    "metarl.envs.metaworld": "core envs.family envs.from_gymnasium",
    "metarl.envs.registry": (
        "core envs.family envs.navigation envs.mujoco envs.task_env envs.observe_task envs.vector_env "
        "envs.from_gymnasium envs.metaworld"
    ),
    "metarl.envs.images": "core",
    "metarl.losses": "",
    "metarl.adam": "policies.networks",
    "metarl.inner_loop": "core losses policies.*",
    "metarl.kept_channels": "core inner_loop policies.*",
    "metarl.reptile": "core policies.*",
    "metarl.cost": "core policies.*",
    "metarl.runs": "core policies.networks policies.compression policies.files",
    "metarl.workers": "core",
    "metarl.rl": "core losses adam inner_loop kept_channels reptile cost runs workers policies.* envs.*",
    "metarl.images": "core losses adam inner_loop kept_channels reptile cost runs policies.* envs.images",
    "metarl.compression": "core adam inner_loop rl images runs cost policies.* envs.*",
    "metarl.fleet": "core losses adam rl images runs compression policies.* envs.*",
    "metarl.tuning": "core rl runs policies.* envs.*",
    "metarl.callbacks": "core rl runs",
    "metarl.api": "core rl images runs workers compression fleet policies.* envs.*",
    "metarl": "core api policies.*",
    "metarl.experiments.console": "core envs.* policies.* runs workers",
    "metarl.experiments.datasets": "core envs.images",
    "metarl.experiments.analysis": "metarl.* policies.* envs.* experiments.console",
    "metarl.experiments.bench": "metarl.* policies.* envs.* experiments.console experiments.analysis",
    "metarl.experiments.paper": "metarl.* policies.* envs.* experiments.console experiments.analysis",
    "metarl.experiments.report": "metarl.* policies.* envs.* experiments.console experiments.analysis",
    "metarl.experiments.zoo": "core policies.* experiments.console experiments.analysis experiments.paper",
    "metarl.experiments.commands": "metarl.* policies.* envs.* experiments.*",
    "metarl.experiments.cli": "core experiments.console",
}


@cache
def modules() -> dict[str, Path]:
    """Return every module of the checkout by its dotted name, e.g. ``metarl.envs.family``."""
    found = {}
    for name, folder in ROOMS.items():
        for file in (CHECKOUT / folder).rglob("*.py"):
            parts = file.relative_to(CHECKOUT / folder).with_suffix("").parts
            found[".".join((name, *(part for part in parts if part != "__init__")))] = file
    return found


def room(module: str) -> str:
    """Return the room of a module: the longest of the rooms' names that it begins with."""
    return max((name for name in ROOMS if f"{module}.".startswith(f"{name}.")), key=len)


def node(module: str) -> str:
    """Return the sub-package, or the module at a room's top level, that a module belongs to."""
    inside = module.removeprefix(room(module)).strip(".").partition(".")[0]
    return f"{room(module)}.{inside}" if inside else room(module)


def imports(module: str, source: str) -> set[str]:
    """Return the modules of metarl that a module imports, wherever in it."""
    found: set[str] = set()
    for statement in ast.walk(ast.parse(source)):
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, f"{module}: imports are absolute"
            for alias in statement.names:
                name = f"{statement.module}.{alias.name}"
                found.add(name if name in modules() else statement.module or "")
    return {name for name in found if name.split(".")[0] == "metarl"}


def allowed(name: str) -> set[str]:
    """Return the nodes that a node may import."""
    nodes: set[str] = set()
    for word in ARROWS[name].split():
        if word == "metarl.*":
            nodes |= {other for other in ARROWS if room(other) == "metarl"}
        elif word.endswith(".*"):
            nodes |= {other for other in ARROWS if room(other) == f"metarl.{word.removesuffix('.*')}"}
        else:
            nodes.add(f"metarl.{word}")
    return nodes


def forbidden(module: str, source: str) -> set[str]:
    """Return what a module imports although its node may not."""
    return {name for name in imports(module, source) if node(name) not in allowed(node(module)) | {node(module)}}


def test_rooms_import_along_the_arrows_alone():
    assert len(modules()) > 100
    violations = {module: forbidden(module, file.read_text()) for module, file in modules().items()}
    assert {module: names for module, names in violations.items() if names} == {}


def test_every_arrow_starts_and_ends_at_a_place_that_exists():
    nodes = {node(module) for module in modules()} - {"metarl.policies", "metarl.experiments"}
    assert set(ARROWS) == nodes
    assert {target for name in ARROWS for target in allowed(name)} <= nodes


def test_there_are_no_cycles():
    order = list(graphlib.TopologicalSorter(module_graph()).static_order())
    assert len(order) == len(modules())


def module_graph() -> dict[str, set[str]]:
    """Return the modules that each module imports when it is imported itself.

    The package's ``__init__`` loads its API on first use only, so its imports do not count.
    """
    graph = {}
    for module, file in modules().items():
        tree = ast.parse(file.read_text())
        tree.body = [statement for statement in tree.body if not is_type_checking(statement)]
        graph[module] = imports(module, ast.unparse(tree)) - {module}
    return graph


def is_type_checking(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("metarl.policies.networks.mlp", "from metarl.envs.family import TaskFamily"),
        ("metarl.policies.networks.mlp", "import metarl.losses"),
        ("metarl.policies.networks.mlp", "from metarl import envs"),
        ("metarl.policies.networks.mlp", "import metarl"),
        ("metarl.policies.networks.mlp", "from metarl.policies import methods"),
        ("metarl.envs.family", "def f():\n    from metarl import policies"),
        ("metarl.envs.family", "from metarl.rl.settings import TrainSettings"),
        ("metarl.losses", "import metarl.experiments.cli as cli"),
        ("metarl.runs.folder", "from metarl.rl.settings import TrainSettings"),
        ("metarl.runs.folder", "from metarl.images.settings import ImageSettings"),
        ("metarl.core.clock", "from metarl.policies.networks.network import Parameters"),
        ("metarl.experiments.paper.filing", "from metarl.experiments.commands.evaluate import returns_record"),
    ],
)
def test_a_wrong_direction_is_noticed(module, source):
    assert forbidden(module, source)


@pytest.mark.parametrize("name", ["metarl.tests", "metarl.metarl", "metarl.docs", "metarl.pyproject"])
def test_a_checkout_exposes_its_rooms_alone(name):
    code = f"import metarl.envs, metarl.policies, metarl.experiments; import {name}"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"No module named '{name}'" in done.stderr


def test_importing_metarl_is_light():
    code = f"import sys; sys.path.insert(0, {str(INSTALLED.parent)!r}); import metarl; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "metarl" in loaded
    assert not {"torch", "numpy", "mujoco", "gymnasium", "stable_baselines3", "matplotlib"} & set(loaded)


def test_the_calls_that_metarl_offers_exist():
    for name in metarl.__all__:
        assert callable(getattr(metarl, name))
    with pytest.raises(AttributeError, match="module 'metarl' has no attribute 'nonsense'"):
        _ = metarl.nonsense


def test_every_package_is_listed():
    packages = {module for module, file in modules().items() if file.name == "__init__.py"}
    assert set(SETUPTOOLS["packages"]) == packages
    assert SETUPTOOLS["package-dir"] == ROOMS
    for module, file in modules().items():
        assert (file.parent / "__init__.py").is_file(), f"{module} stands in a folder without __init__.py"


@pytest.mark.skipif(INSTALLED == CHECKOUT / "metarl", reason="metarl runs from the checkout")
def test_the_installed_package_is_the_whole_checkout():
    assert version(DISTRIBUTION) == metarl.__version__
    (script,) = entry_points(group="console_scripts", name="metarl")
    assert callable(script.load())
    missing = []
    for name, folder in ROOMS.items():
        for path in shipped(name):
            installed = INSTALLED.joinpath(*name.split(".")[1:], path)
            if not installed.is_file() or installed.read_bytes() != (CHECKOUT / folder / path).read_bytes():
                missing.append(f"{folder}/{path}")
    assert missing == [], "not installed, or installed in an older state"


def shipped(package: str) -> set[Path]:
    """Return the files of a room that are installed, relative to its folder."""
    folder, patterns = CHECKOUT / ROOMS[package], ("**/*.py", *SETUPTOOLS["package-data"].get(package, []))
    found = {file.relative_to(folder) for pattern in patterns for file in folder.glob(pattern) if file.is_file()}
    return {path for path in found if not any(part.startswith((".", "__pycache__")) for part in path.parts)}


def test_every_pattern_of_package_data_finds_files():
    for package, patterns in SETUPTOOLS["package-data"].items():
        for pattern in patterns:
            assert any((CHECKOUT / ROOMS[package]).glob(pattern)), f"{package}: {pattern}"


def test_only_filed_results_and_runs_stay_behind():
    listed = subprocess.run(["git", "ls-files", *ROOMS.values()], cwd=CHECKOUT, capture_output=True, text=True).stdout
    left = set(listed.split()) - {f"{folder}/{path}" for name, folder in ROOMS.items() for path in shipped(name)}
    behind = ("experiments/results/", "experiments/runs/", "policies/export/.clang-format")
    assert {path for path in left if not path.startswith(behind)} == set()


def test_version_changelog_and_citation_agree():
    released = re.findall(
        r"^## \[(\d[^]]*)\] - (\d{4}-\d{2}-\d{2})$", (CHECKOUT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert released[0][0] == metarl.__version__
    assert f"\nversion: {metarl.__version__}\n" in (CHECKOUT / "CITATION.cff").read_text()


@pytest.mark.slow
def test_distributions_hold_the_whole_package_and_nothing_else(tmp_path):
    """The wheel is built from the unpacked source distribution, as pip does where there is no wheel."""
    copy = tmp_path / "copy"
    shutil.copytree(CHECKOUT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "docs", "build", "*.egg-info"))
    build("sdist", copy)
    (archive,) = tmp_path.glob(f"{DISTRIBUTION.replace('-', '_')}-{metarl.__version__}.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    for name in ("constraints.txt", "constraints-lowest.txt", "LICENSE", "CHANGELOG.md", "Makefile"):
        assert (unpacked / name).is_file()
    tests = {file.relative_to(copy) for file in (copy / "tests").rglob("*") if file.is_file()}
    assert tests == {file.relative_to(unpacked) for file in (unpacked / "tests").rglob("*") if file.is_file()}
    build("wheel", unpacked)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = {name for name in packed.namelist() if ".dist-info/" not in name}
    wanted = {PurePosixPath(*name.split("."), path).as_posix() for name in ROOMS for path in shipped(name)}
    assert names == wanted | {"metarl_adapt.py"}


def build(kind: str, source: Path) -> None:
    """Build a source distribution or a wheel into the folder above a source tree."""
    code = f"from setuptools import build_meta; build_meta.build_{kind}('..')"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)


def test_constraints_name_every_dependency():
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (CHECKOUT / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    }
    extras = PROJECT["project"]["optional-dependencies"].values()
    wanted = PROJECT["project"]["dependencies"] + [requirement for extra in extras for requirement in extra]
    names = {requirement.partition(">=")[0].partition("[")[0] for requirement in wanted} - {DISTRIBUTION}
    assert names - pinned == set()
