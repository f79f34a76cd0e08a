"""The four rooms install whole, under one name, and import each other in one direction only."""

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points, version
from pathlib import Path, PurePosixPath

import pytest

import metarl

CHECKOUT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
ROOMS = {"metarl": "metarl", "metarl.envs": "envs", "metarl.policies": "policies", "metarl.experiments": "experiments"}
INSTALLED = Path(metarl.__file__).parent
# What each room may import of the others.
ALLOWED = {
    "metarl.policies": set(),
    "metarl.envs": set(),
    "metarl": {"metarl.policies", "metarl.envs"},
    "metarl.experiments": {"metarl", "metarl.policies", "metarl.envs"},
}


def modules() -> dict[str, Path]:
    """Every module of the checkout by its dotted name, e.g. ``metarl.envs.family``."""
    found = {}
    for name, folder in ROOMS.items():
        for file in (CHECKOUT / folder).rglob("*.py"):
            parts = file.relative_to(CHECKOUT / folder).with_suffix("").parts
            found[".".join((name, *(part for part in parts if part != "__init__")))] = file
    return found


def room(module: str) -> str:
    """The room that a module stands in: the longest of the rooms' names that it begins with."""
    return max((name for name in ROOMS if f"{module}.".startswith(f"{name}.")), key=len)


def imports(module: str, source: str) -> set[str]:
    """The modules of metarl that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            is_top = node.module == "metarl"
            found |= {f"metarl.{alias.name}" for alias in node.names} if is_top else {node.module or ""}
    return {name for name in found if name.split(".")[0] == "metarl"}


def forbidden(module: str, source: str) -> set[str]:
    allowed = ALLOWED[room(module)] | {room(module)}
    return {name for name in imports(module, source) if room(name) not in allowed}


def test_rooms_import_in_one_direction():
    assert len(modules()) > 20
    violations = {module: forbidden(module, file.read_text()) for module, file in modules().items()}
    assert {module: names for module, names in violations.items() if names} == {}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("metarl.policies.mlp", "from metarl.envs.family import TaskFamily"),
        ("metarl.policies.mlp", "import metarl.losses"),
        ("metarl.policies.mlp", "from metarl import envs"),
        ("metarl.policies.mlp", "import metarl"),
        ("metarl.envs.family", "def f():\n    from metarl import policies"),
        ("metarl.envs.family", "from metarl.settings import Settings"),
        ("metarl.losses", "import metarl.experiments.cli as cli"),
    ],
)
def test_a_wrong_direction_is_noticed(module, source):
    assert forbidden(module, source)


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
    assert version("metarl") == metarl.__version__
    (script,) = entry_points(group="console_scripts", name="metarl")
    assert callable(script.load())
    missing = []
    for name, folder in ROOMS.items():
        for file in (CHECKOUT / folder).rglob("*"):
            path = file.relative_to(CHECKOUT / folder)
            installed = INSTALLED.joinpath(*name.split(".")[1:], path)
            if is_shipped(name, path) and (not installed.is_file() or installed.read_bytes() != file.read_bytes()):
                missing.append(str(file.relative_to(CHECKOUT)))
    assert missing == [], "not installed, or installed in an older state"


def is_shipped(package: str, path: Path) -> bool:
    if "__pycache__" in path.parts:
        return False
    patterns = ("**/*.py", *SETUPTOOLS["package-data"].get(package, []))
    return any(matches(PurePosixPath(path), pattern) for pattern in patterns)


def matches(path: PurePosixPath, pattern: str) -> bool:
    """Whether a relative path fits a pattern; a leading ``**/`` stands for any number of folders, none included."""
    return path.match(pattern.removeprefix("**/")) and (pattern.startswith("**/") or len(path.parts) == 1)


def test_constraints_name_every_dependency():
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (CHECKOUT / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    }
    wanted = PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["dev"]
    names = {requirement.partition(">=")[0].partition("[")[0] for requirement in wanted}
    assert names - pinned == set()
