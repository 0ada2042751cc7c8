"""What a check found, and where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detkit.checks.kinds import KINDS, RANKS


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault.

    Attributes:
        kind: its name in `KINDS`.
        file: the file it is in; None where it belongs to the whole.
        object: which object, image, class or line of the file; None where it is the file itself.
        message: what was found and what was expected.
        objects: rows of the survey's objects that it is about.
        images: positions of the survey's images that it is about.
    """

    kind: str
    file: str | None
    object: str | None
    message: str
    objects: tuple[int, ...] = ()
    images: tuple[int, ...] = ()

    @property
    def is_error(self) -> bool:
        """Whether it stops a training or makes it learn something wrong."""
        return KINDS[self.kind].severity == "error"

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` writes."""
        return {"kind": self.kind, "file": self.file, "object": self.object, "message": self.message}


def found(
    kind: str,
    file: Path | str | None,
    thing: object,
    message: str,
    *,
    objects: Iterable[int] = (),
    images: Iterable[int] = (),
) -> Finding:
    """Return a finding of a kind that there is; see `Finding`."""
    assert kind in KINDS, kind
    place = None if file is None else str(file)
    name = None if thing is None else str(thing)
    return Finding(kind, place, name, message, tuple(map(int, objects)), tuple(map(int, images)))


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings worst first, those of a kind in the order in which they were found."""
    return sorted(findings, key=lambda finding: RANKS[finding.kind])
