"""The wheel holds all that a user needs, and works from any directory."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def test_wheel_holds_code_configs_and_types(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sources = {str(p.relative_to(ROOT)) for p in (ROOT / "detkit").rglob("*.py")}
    shipped = {f"detkit/{p.relative_to(ROOT)}" for p in (ROOT / "configs").rglob("*.yaml")}
    assert sources <= names
    assert shipped
    assert shipped <= names
    assert {"detkit/py.typed", "detkit/report/report.css", "detkit/report/embedding.js"} <= names
    assert {"detkit/report/embedding.css", "detkit/serving/page.html"} <= names
    assert not [name for name in names if name.startswith(("tests/", "tools/", "benchmarks/"))]


def test_installed_wheel_works_from_any_directory(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    site = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    )
    run(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel,
        cwd=tmp_path,
    )  # fmt: skip
    # The dependencies come from here: downloading them again would test the package index, not the wheel.
    (site / "zz_dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    where = run(python, "-c", "import detkit; print(detkit.__file__)", cwd=elsewhere)
    assert str(site) in where
    assert "train" in run(python, "-m", "detkit", "--help", cwd=elsewhere)
    for config in sorted((ROOT / "configs").rglob("*.yaml")):
        shown = run(python, "-m", "detkit", "config", "show", config.stem, cwd=elsewhere)
        assert "detector:" in shown
