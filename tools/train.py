"""`detkit train` as a script, for torchrun and schedulers that start files."""

from __future__ import annotations

import sys

from detkit.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
