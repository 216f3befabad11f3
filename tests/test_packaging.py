"""The house rules that a machine can check: what is packaged, what imports what, and that importing stays cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import navloop

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli", reason="Python 3.10 has no tomllib")

ROOT = Path(__file__).parents[1]
FOLDERS = ("core", "configs", "envs", "encoders", "agent", "training")
BELOW = {
    "core": set(),
    "configs": {"core"},
    "envs": {"core", "configs"},
    "encoders": {"core", "configs"},
    "agent": {"core", "configs", "envs", "encoders"},
    "training": {"core", "configs", "envs", "encoders", "agent"},
}
CORE_MODULES = {path.stem for path in (ROOT / "core").glob("*.py")}
ONLY_IN = {
    "habitat": ("envs/habitat/",),
    "habitat_sim": ("envs/habitat/",),
    "decord": (),  # the benchmarks measure against it
    "av": ("training/videos.py", "training/decoding.py", "training/packets.py", "training/store/"),
    "pyarrow": ("training/store/", "training/clip_rows.py"),
    "rerun": ("training/store/viewing.py",),
    "panda3d": ("envs/embedded/",),
    "embreex": ("envs/embedded/",),
    "stable_baselines3": ("agent/sb3/",),
    "sb3_contrib": (),  # its algorithms take the same environments; whoever wants them imports them
    "torch": ("core/weights.py", "encoders/", "agent/", "training/"),
}


def modules() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import of {node.module or '.'}"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def home(name: str) -> str | None:
    """Return the root folder that an imported navloop name lives in."""
    parts = name.split(".")
    if parts[0] != "navloop":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in FOLDERS else "core"


def test_the_facade_offers_what_it_lists():
    assert set(navloop._HOME) == set(navloop.__all__)
    for name in navloop.__all__:
        assert getattr(navloop, name).__name__.endswith(name.removeprefix("load_config") or "load")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = navloop.nothing


def test_dir_lists_what_the_facade_offers_and_not_what_it_is_made_with():
    assert {*navloop.__all__, "__version__"} <= set(dir(navloop))
    assert not {"TYPE_CHECKING", "import_module", "version"} & set(dir(navloop))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down_only(path):
    folder = path.relative_to(ROOT).parts[0]
    for name in (
        set() if path == ROOT / "core" / "__init__.py" else imported(path)
    ):  # the facade names what stands above it
        target = home(name)
        assert target is None or target == folder or target in BELOW[folder], (
            f"{path} imports {name} from above or beside"
        )
        top = name.split(".")[0]
        assert top not in FOLDERS, f"{path} imports {name}; write navloop.{name}"
        if top in ONLY_IN:
            assert str(path.relative_to(ROOT)).startswith(ONLY_IN[top]), (
                f"{path} imports {top}, which belongs in {ONLY_IN[top]}"
            )


def test_every_package_on_disk_is_packaged():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    where = settings["package-dir"]
    listed = set(settings["packages"])
    on_disk = set()
    for init in (path for path in modules() if path.name == "__init__.py"):
        folder, *rest = init.parent.relative_to(ROOT).parts
        package = next(name for name, mapped in where.items() if mapped == folder)
        on_disk.add(".".join([package, *rest]))
    assert listed == on_disk


def test_importing_navloop_loads_no_heavy_package():
    code = "import sys, navloop, navloop.envs; print([m for m in ('torch', 'panda3d', 'matplotlib', 'av') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_no_module_is_longer_than_400_lines():
    long = {
        str(path.relative_to(ROOT)): lines for path in modules() if (lines := len(path.read_text().splitlines())) > 400
    }
    assert long == {}


def test_no_two_test_files_share_a_name():
    # Tests are no packages, so pytest knows a file by its name alone.
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
