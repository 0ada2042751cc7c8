"""Labels from the class names in annotation files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from difflib import get_close_matches

from detkit.errors import UserError


def label_names(
    names: Sequence[str],
    classes: Sequence[str],
    ignore_classes: Sequence[str],
    where: Callable[[int], str],
) -> list[int]:
    """Return the label of each name, -1 for a class to be ignored.

    Args:
        names: class name of each object.
        classes: K class names in label order.
        ignore_classes: names whose objects are left out.
        where: says where the object at a position was read, for the message.

    Raises:
        UserError: a name is in neither list, or a class is repeated or in both lists.

    Example:
        >>> label_names(["cat", "dog", "cow"], ["dog", "cat"], ["cow"], str)
        [1, 0, -1]
    """
    _check(classes, ignore_classes)
    table = {name: label for label, name in enumerate(classes)} | dict.fromkeys(ignore_classes, -1)
    try:
        return [table[name] for name in names]
    except KeyError:
        position = next(i for i, name in enumerate(names) if name not in table)
        raise UserError(_unknown(names, position, classes, table, where)) from None


def _check(classes: Sequence[str], ignore_classes: Sequence[str]) -> None:
    repeated = [name for name, count in Counter(classes).items() if count > 1]
    if repeated:
        raise UserError(f"data.classes: {repeated[0]!r} is listed twice; list each class once")
    both = [name for name in classes if name in set(ignore_classes)]
    if both:
        raise UserError(
            f"{both[0]!r} is both in data.classes and data.ignore_classes; keep it in one of them"
        )


def class_ids(classes: Sequence[str], known: dict[str, int]) -> list[int]:
    """Return the source's id of each class; a class unknown to the source gets an id that none has.

    Example:
        >>> class_ids(["dog", "emu"], {"cat": 1, "dog": 18})
        [18, 19]
    """
    free = max(known.values(), default=0) + 1
    absent = [name for name in classes if name not in known]
    table = known | {name: free + i for i, name in enumerate(absent)}
    return [table[name] for name in classes]


def _unknown(
    names: Sequence[str],
    position: int,
    classes: Sequence[str],
    table: dict[str, int],
    where: Callable[[int], str],
) -> str:
    name = names[position]
    close = get_close_matches(name, classes, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    count = sum(other == name for other in names)
    others = sorted({other for other in names if other not in table and other != name})
    more = f"\nOther unknown classes: {', '.join(map(repr, others[:10]))}" if others else ""
    return (
        f"{where(position)}: class {name!r} is not in data.classes{hint}; {count} such object(s).\n"
        f"data.classes: {', '.join(classes) or '(none)'}{more}\n"
        f"Add it to data.classes, or to data.ignore_classes to leave its objects out."
    )
