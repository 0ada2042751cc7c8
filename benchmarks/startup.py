"""How long it takes until detkit begins: `detkit --help`, `import detkit`, and what the import defers.

Each is a new process, in turns with an interpreter that does nothing, whose time is a part of both. The
goals are 0.3 s and 0.2 s. The peer of the import is torchvision's, from which a detector comes there.

    python benchmarks/startup.py [--rounds 15] [--json FILE]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from measuring.turns import claim_of, deliver, in_turns

COMMANDS = {
    "nothing": ["-c", "pass"],
    "help": ["-m", "detkit", "--help"],
    "import": ["-c", "import detkit"],
    "torchvision": ["-c", "import torchvision.models.detection"],
}
GOALS_S = {"help": 0.3, "import": 0.2}


def run(arguments: list[str]) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    runs: dict[str, Callable[[], object]] = {name: partial(run, given) for name, given in COMMANDS.items()}
    taken = in_turns(runs, options.rounds)
    peer = "python -c 'import torchvision.models.detection'"
    deliver(
        [
            claim_of("detkit --help, a new process", taken["help"], goal_s=GOALS_S["help"]),
            claim_of(
                "python -c 'import detkit', a new process",
                taken["import"], peer, taken["torchvision"], goal_s=GOALS_S["import"],
            ),
            claim_of("python -c pass, a part of both", taken["nothing"]),
        ],
        options.json,
    )  # fmt: skip


if __name__ == "__main__":
    main()
