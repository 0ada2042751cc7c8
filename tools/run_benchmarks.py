"""Run every benchmark and write the results, the slower ones included, to benchmarks/RESULTS.md."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "benchmarks"
JSON_FOLDER = ROOT / "build" / "bench"

HEADER = """# Benchmarks

Written by `make bench`: detkit and its peer interleaved in one run, medians. A ratio above 1 means that
detkit is faster; beside it are the lowest and the highest ratio of a round. "Same answer" says whether
both computed the same thing. What has no peer stands alone.

| benchmark | claim | detkit | peer | peer's time | ratio | of rounds | same answer |
|---|---|--:|---|--:|--:|--:|---|
"""


def run(script: Path) -> list[dict[str, Any]]:
    """Run one benchmark and return its claims."""
    target = JSON_FOLDER / f"{script.stem}.json"
    print(f"{script.relative_to(ROOT)} ...", file=sys.stderr, flush=True)
    start = time.perf_counter()
    subprocess.run([sys.executable, str(script), "--json", str(target)], check=True, cwd=ROOT)
    print(f"{script.relative_to(ROOT)}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    claims: list[dict[str, Any]] = json.loads(target.read_text(encoding="utf-8"))
    return claims


def row(name: str, claim: dict[str, Any]) -> str:
    """Return one line of the table; what does not apply is a dash."""

    def number(key: str, pattern: str) -> str:
        value = claim.get(key)
        return "–" if value is None else pattern.format(value)

    same = {True: "yes", False: "no", None: "–"}[claim.get("same_answer")]
    low_high = claim.get("ratio_range")
    cells = [
        name,
        str(claim["claim"]),
        number("ours_s", "{:.4g} s"),
        str(claim.get("peer") or "–"),
        number("peer_s", "{:.4g} s"),
        number("ratio", "{:.2f}"),
        "–" if not low_high else f"{low_high[0]:.2f} to {low_high[1]:.2f}",
        same,
    ]
    return "| " + " | ".join(cells) + " |\n"


def main(wanted: Sequence[str] = ()) -> int:
    """Run all benchmarks, or those named; a failing one does not keep the others from being written.

    The results of those not named are taken from the last run, where there was one.
    """
    JSON_FOLDER.mkdir(parents=True, exist_ok=True)
    text, machines, failed, silent, unknown = HEADER, set(), [], [], []
    for script in sorted(FOLDER.glob("*.py")):
        kept = JSON_FOLDER / f"{script.stem}.json"
        try:
            if not wanted or script.stem in wanted:
                claims = run(script)
            elif kept.exists():
                claims = json.loads(kept.read_text(encoding="utf-8"))
            else:
                unknown.append(script.name)
                continue
        except subprocess.CalledProcessError:
            failed.append(script.name)
            continue
        if not claims:
            silent.append(script.name)
        text += "".join(row(script.stem, claim) for claim in claims)
        machines |= {json.dumps(claim.get("machine"), sort_keys=True) for claim in claims}
    text += "\nMachine: " + "; ".join(sorted(machines)) + "\n"
    if silent:
        text += "\nNothing to measure here: " + ", ".join(silent) + "\n"
    if unknown:
        text += "\nNot run: " + ", ".join(unknown) + "\n"
    if failed:
        text += "\nDid not finish: " + ", ".join(failed) + "\n"
    (FOLDER / "RESULTS.md").write_text(text, encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=main.__doc__)
    arguments.add_argument("names", nargs="*", help="such as roi_ops; none runs all")
    sys.exit(main(arguments.parse_args().names))
