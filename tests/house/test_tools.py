"""The scripts in tools/ find what they are there to find."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[x](nowhere.md)", "no such file"),
        ("# One\n[x](#two)", "no such heading"),
        ("`data.invalid_box`", "is not a key"),
        ("`train.optimizer.bias_lr: 2`", "is not a key"),
        ("pip install detkit", "another project"),
        ("```\ndetkit trian mine.yaml\n```", "no command 'trian'"),
        ("run `detkit config print x`", "no command 'print'"),
        ("```\n.venv/bin/detkit train mine.yaml --output runs\n```", "no option --output"),
        ("```python\nimport (\n```", "does not parse"),
        ("```python\nfrom detkit.errors import Mistake\n```", "has no Mistake"),
        ("```python\nimport detkit\ndetkit.nothing()\n```", "detkit has no nothing"),
    ],
)
def test_what_is_wrong_in_a_page_is_found(tmp_path: Path, text: str, message: str) -> None:
    docs = tool("check_docs")
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    (found,) = docs.problems(page, set(docs.config_keys()), docs.get_command(docs.app))
    assert message in found


def test_a_right_page_passes(tmp_path: Path) -> None:
    docs = tool("check_docs")
    page = tmp_path / "page.md"
    page.write_text(
        "# What it is\n[x](#what-it-is) [y](page.md) [z](https://example.org)\n"
        "`data.invalid_boxes: clip` `train.optimizer.lr` `data.yaml` pip install detkit-rcnn\n"
        "```\ndetkit train mine.yaml train.epochs=3 --out runs/mine  # learns\n[not](a-link.md)\n```\n"
        "`detkit config explain KEY` and detkit itself\n"
        "```python\nfrom detkit.errors import UserError\n```\n",
        encoding="utf-8",
    )
    assert list(docs.problems(page, set(docs.config_keys()), docs.get_command(docs.app))) == []


def test_benchmarks_write_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmarks = tool("run_benchmarks")
    claims = [
        {
            "claim": "sums", "ours_s": 0.5, "peer": "math", "peer_s": 1, "ratio": 2,
            "ratio_range": [1.5, 2.25], "same_answer": True,
        },
        {"claim": "alone", "ours_s": 0.25, "peer": None, "peer_s": None, "ratio": None, "same_answer": None},
    ]  # fmt: skip
    script = f"import sys\nfrom pathlib import Path\nPath(sys.argv[2]).write_text({json.dumps(claims)!r})\n"
    (tmp_path / "one.py").write_text(script, encoding="utf-8")
    (tmp_path / "two.py").write_text("raise SystemExit(3)\n", encoding="utf-8")
    (tmp_path / "no_gpu.py").write_text(script.replace(json.dumps(claims), "[]"), encoding="utf-8")
    for name, value in (("ROOT", tmp_path), ("FOLDER", tmp_path), ("JSON_FOLDER", tmp_path / "json")):
        monkeypatch.setattr(benchmarks, name, value)
    assert benchmarks.main() == 1
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "| one | sums | 0.5 s | math | 1 s | 2.00 | 1.50 to 2.25 | yes |" in text
    assert "| one | alone | 0.25 s | – | – | – | – | – |" in text
    assert "Did not finish: two.py" in text
    assert "Nothing to measure here: no_gpu.py" in text
    assert benchmarks.main(["no_gpu"]) == 0
    assert "| one | sums | 0.5 s |" in (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
