"""Two sides taken in turns, and the claim that comes of it."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Clock = Callable[[], float]
Claim = dict[str, Any]


def in_turns(
    runs: Mapping[str, Callable[[], object]], rounds: int, clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """Return the seconds of each run, one after another in every round, after a round that warms up."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            start = clock()
            run()
            if number:
                taken[name].append(clock() - start)
    return taken


def claim_of(
    text: str,
    ours: list[float],
    peer: str | None = None,
    theirs: list[float] | None = None,
    *,
    same_answer: bool | None = None,
    **more: object,
) -> Claim:
    """Return one claim: medians, their ratio, and the lowest and highest ratio of a round."""
    ours_s = statistics.median(ours)
    claim: Claim = {"claim": text, "ours_s": rounded(ours_s), "peer": peer, "peer_s": None, "ratio": None}
    claim["spread"] = rounded(max(ours) / min(ours))
    if theirs is not None:
        peer_s = statistics.median(theirs)
        of_rounds = [b / a for a, b in zip(ours, theirs, strict=True)]
        claim |= {"peer_s": rounded(peer_s), "ratio": rounded(peer_s / ours_s)}
        claim["ratio_range"] = [rounded(min(of_rounds)), rounded(max(of_rounds))]
    return claim | {"same_answer": same_answer, "machine": machine(), **more}


def rounded(value: float) -> float:
    """Return a number with four digits."""
    return float(f"{value:.4g}")


def machine() -> str:
    """Return processor, cores and threads, and the version of torch where it is loaded."""
    import sys

    cpuinfo = Path("/proc/cpuinfo")
    named = (
        [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        if cpuinfo.exists()
        else []
    )
    name = named[0].split(":")[1].strip() if named else platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch = sys.modules.get("torch")
    if torch is None:
        return f"{name}, {cores} cores"
    isa = torch.backends.cpu.get_cpu_capability()
    return f"{name} ({isa}), {cores} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"


def deliver(claims: list[Claim], json_file: Path | None) -> None:
    """Print claims for people, and write them for programs."""
    for claim in claims:
        line = f"{claim['claim']}: {claim['ours_s']:.4g} s"
        if claim["peer_s"] is not None:
            line += f", {claim['peer']} {claim['peer_s']:.4g} s, {claim['ratio']:.2f}x"
        if "ratio_range" in claim:
            low, high = claim["ratio_range"]
            line += f" ({low:.2f} to {high:.2f})"
        print(line + ("" if claim["same_answer"] is not False else "; the answers DIFFER"))
    if claims:
        print(claims[0]["machine"])
    if json_file:
        json_file.write_text(json.dumps(claims, indent=2) + "\n", encoding="utf-8")
