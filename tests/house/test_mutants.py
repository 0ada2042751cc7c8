"""The changes that tools/mutate.py makes are changes, and it tells whether a test notices them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
UNDER = ["detkit/spec.py", "detkit/evaluation"]


@pytest.fixture
def mutants(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOLS))
    import mutants

    return mutants


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("y = a < b", {"y = (a <= b)", "y = (not a < b)"}),
        ("y = a == b", {"y = (a != b)"}),
        ("y = a and b", {"y = (a or b)"}),
        ("y = not a", {"y = a"}),
        ("y = a + b", {"y = (a - b)"}),
        ("y = a + 'text'", set()),
        ("y = 3", {"y = 4", "y = 2"}),
        ("y = 0.5", {"y = 1.0"}),
        ("y = True", {"y = False"}),
        ("y += x", {"pass", "y -= x"}),
        ("y[x] = a", {"pass"}),
        ("f(a)", {"pass"}),
        ("f(a, b)", {"pass", "(f(b, a))"}),
        ("f(a, a)", {"pass"}),
        ("raise E(a)", {"pass"}),
        ("y = min(a, b)", {"y = (max(a, b))"}),
        ("y = zip(a, b, strict=True)", {"y = (zip(b, a, strict=True))"}),
        ("y = a.amax()", {"y = (a.amin())"}),
        ("y = abs(a)", {"y = a"}),
        ("y = a.clamp(b)", {"y = a"}),
        ("y = np.clip(a, 'x')", {"y = a"}),
        ("y = sorted(a)", {"y = (list(a))"}),
        ("y = a if b else x", {"y = (x if b else a)"}),
        ("if a:\n    pass", {"if (not a):\n    pass"}),
        ("if TYPE_CHECKING:\n    y = 1", set()),
        ("while a:\n    break", {"while (not a):\n    break", "while a:\n    continue"}),
        ("y = [x for x in a if b]", {"y = [x for x in a if (not b)]"}),
        ("Kind = A | B", set()),
        ("'''A text.'''", set()),
        ("y: Literal['a', 'b'] = 'a'", {"y: Literal['a', 'b'] = 'b'"}),
        ("def f(a: Literal['a', 'b'] = 'a', b: int = 1): pass", {
            "def f(a: Literal['a', 'b'] = 'b', b: int = 1): pass",
            "def f(a: Literal['a', 'b'] = 'a', b: int = 2): pass",
            "def f(a: Literal['a', 'b'] = 'a', b: int = 0): pass",
        }),
        ("def f(a: int, b: str): return g(a, b)", set()),
        ("def f(a: int, b: int): return g(a, b)", {"def f(a: int, b: int): return (g(b, a))"}),
        ("é = 'é'; y = a < 'é'", {"é = 'é'; y = (a <= 'é')", "é = 'é'; y = (not a < 'é')"}),
    ],
)  # fmt: skip
def test_each_kind_of_change(mutants: ModuleType, code: str, wanted: set[str]) -> None:
    source = code.encode()
    changed = {mutants.mutated(source, found).decode() for found in mutants.mutants_of("a.py", source)}
    assert changed == wanted


def test_what_is_drawn_is_valid_and_of_lines_that_differ(mutants: ModuleType) -> None:
    root = TOOLS.parent
    drawn = mutants.draw(root, UNDER, 60, seed=3)
    assert len({(found.path, found.line) for found in drawn}) == 60
    assert drawn == mutants.draw(root, UNDER, 60, seed=3)
    assert drawn != mutants.draw(root, UNDER, 60, seed=4)
    for found in drawn:
        source = (root / found.path).read_bytes()
        assert source[found.start : found.end].decode() == found.old
        changed = ast.parse(mutants.mutated(source, found))
        assert ast.dump(changed) != ast.dump(ast.parse(source))


def test_what_is_listed_as_equivalent_is_a_change_of_the_code(mutants: ModuleType) -> None:
    """Code that was changed since is judged again."""
    import mutate

    root, counts = TOOLS.parent, Counter[str]()
    listed = [name.partition(" #") for name in mutate.read_equivalent()]
    for path in {name.partition("::")[0] for name, _, _ in listed}:
        counts.update(found.name for found in mutants.mutants_of(path, (root / path).read_bytes()))
    gone = [f"{name} #{number}" for name, _, number in listed if counts[name] < int(number or 1)]
    unclear = [name for name, _, number in listed if counts[name] > 1 and not number]
    assert (gone, unclear) == ([], [])


@pytest.mark.slow
def test_what_is_tested_is_killed_and_what_is_not_survives(tmp_path: Path) -> None:
    """A tree of one function of two lines, of which the tests know one."""
    files = {
        "detkit/__init__.py": "",
        "detkit/sums.py": "def add(a, b):\n    return a + b\n\n\ndef take(a, b):\n    return a - b\n",
        "detkit/loop.py": "def count(n):\n    while n > 0:\n        n -= 1\n    return n\n",
        "tests/test_sums.py": "from detkit.sums import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n",
        "tests/test_loop.py": "from detkit.loop import count\n\n\ndef test_it():\n    assert count(3) == 0\n",
        "pyproject.toml": '[tool.pytest.ini_options]\nmarkers = ["slow: x"]\n',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for name in ("mutate.py", "mutants.py"):
        (tmp_path / "tools").mkdir(exist_ok=True)
        (tmp_path / "tools" / name).write_text((TOOLS / name).read_text(encoding="utf-8"))
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    before = (tmp_path / "detkit" / "sums.py").read_bytes()
    command = [sys.executable, "tools/mutate.py", "--scratch", str(tmp_path / "scratch"), "--sample", "9"]
    command += ["--under", "detkit/sums.py"]
    first = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert first.returncode == 1, first.stderr
    assert (
        "killed     detkit/sums.py:2 arithmetic: a + b -> (a - b)  tests/test_sums.py::test_add"
        in first.stdout
    )
    assert "2 sampled, 0 equivalent, 1 killed, 1 survived: 50.0% of the others are killed" in first.stdout
    name = "detkit/sums.py::take::a - b -> (a + b)"
    assert f"survived: {name}" in first.stdout
    (tmp_path / "tools" / "equivalent_mutants.txt").write_text(f"{name}\n    nobody takes\n")
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0
    assert f"equivalent: {name}\n    nobody takes" in again.stdout
    assert (tmp_path / "detkit" / "sums.py").read_bytes() == before
