"""Problems of a config: every mistake with its place, all in one message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from detkit.errors import UserError
from detkit.storage.strict_yaml import KeyPath, Problem, dotted

_ON_ONE_SCREEN = 20


def raise_all(problems: Sequence[Problem], places: Mapping[KeyPath, str], source: str) -> None:
    """Raise one error with a line for each problem, in the order of the file; nothing when there is none.

    Args:
        problems: the mistakes.
        places: where each key stands.
        source: the name of the file, for what has no line.

    Raises:
        UserError: If there are problems.
    """
    if not problems:
        return
    placed = [(problem.place or _place(problem.path, places, source), problem) for problem in problems]
    placed.sort(key=lambda pair: _line(pair[0], source))
    lines = [": ".join(filter(None, (place, dotted(p.path), p.message))) for place, p in placed]
    lines = list(dict.fromkeys(lines))
    if len(lines) > _ON_ONE_SCREEN:
        lines[_ON_ONE_SCREEN:] = [f"... and {len(lines) - _ON_ONE_SCREEN} more"]
    raise UserError(*lines)


def _place(path: KeyPath, places: Mapping[KeyPath, str], source: str) -> str:
    return next((places[path[:n]] for n in range(len(path), 0, -1) if path[:n] in places), source)


def _line(place: str, source: str) -> int:
    """Return the line of a place; what has none, such as an override, comes first."""
    line = place.removeprefix(f"{source}:")
    return int(line) if line.isdigit() else 0
