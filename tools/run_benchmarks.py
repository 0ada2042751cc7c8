"""Run every benchmark and write the results, the slower ones included, to benchmarks/RESULTS.md."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "benchmarks"
JSON_FOLDER = ROOT / "build" / "bench"

HEADER = """# Benchmarks

Written by `make bench`: detkit and its peer interleaved in one run, medians. A ratio above 1 means that
detkit is faster. "Same answer" says whether both computed the same thing.

| benchmark | claim | detkit | peer | peer's time | ratio | same answer |
|---|---|--:|---|--:|--:|---|
"""


def run(script: Path) -> list[dict[str, Any]]:
    """Run one benchmark and return its claims."""
    target = JSON_FOLDER / f"{script.stem}.json"
    print(f"{script.relative_to(ROOT)} ...", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, str(script), "--json", str(target)], check=True, cwd=ROOT)
    claims: list[dict[str, Any]] = json.loads(target.read_text(encoding="utf-8"))
    return claims


def row(name: str, claim: dict[str, Any]) -> str:
    """Return one line of the table; what does not apply is a dash."""

    def number(key: str, pattern: str) -> str:
        value = claim.get(key)
        return "–" if value is None else pattern.format(value)

    same = {True: "yes", False: "no", None: "–"}[claim.get("same_answer")]
    cells = [
        name,
        str(claim["claim"]),
        number("ours_s", "{:.4g} s"),
        str(claim.get("peer") or "–"),
        number("peer_s", "{:.4g} s"),
        number("ratio", "{:.2f}"),
        same,
    ]
    return "| " + " | ".join(cells) + " |\n"


def main() -> int:
    """Run all benchmarks; a failing one does not keep the others from being written."""
    JSON_FOLDER.mkdir(parents=True, exist_ok=True)
    text, machines, failed = HEADER, set(), []
    for script in sorted(FOLDER.glob("*.py")):
        try:
            claims = run(script)
        except subprocess.CalledProcessError:
            failed.append(script.name)
            continue
        text += "".join(row(script.stem, claim) for claim in claims)
        machines |= {json.dumps(claim.get("machine"), sort_keys=True) for claim in claims}
    text += "\nMachine: " + "; ".join(sorted(machines)) + "\n"
    if failed:
        text += "\nDid not finish: " + ", ".join(failed) + "\n"
    (FOLDER / "RESULTS.md").write_text(text, encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
