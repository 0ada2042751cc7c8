"""Labels from the class names in annotation files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches
from itertools import count, islice

from detkit.errors import UserError, cut, shown
from detkit.names import counted

LONGEST_NAME = 1000
"""Letters of a class name; what is longer is no name, and would swell every message and file."""
LARGEST_ID = 2**63 - 1


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
        raise UserError(*_unknown(names, position, classes, table, where)) from None


def _check(classes: Sequence[str], ignore_classes: Sequence[str]) -> None:
    repeated = [name for name, count in Counter(classes).items() if count > 1]
    if repeated:
        raise UserError(f"data.classes: {shown(repeated[0])} is listed twice; list each class once")
    for name in classes:
        if fault := name_fault(name):
            raise UserError(f"the class name {shown(name)} {fault}")
    both = [name for name in classes if name in set(ignore_classes)]
    if both:
        raise UserError(
            f"{shown(both[0])} is both in data.classes and data.ignore_classes; keep it in one of them"
        )


def name_fault(name: str) -> str:
    """Return why a text cannot be the name of a class, empty where it can.

    Example:
        >>> name_fault("traffic light"), name_fault("")
        ('', 'is empty')
    """
    if not name.strip():
        return "is empty"
    if len(name) > LONGEST_NAME:
        return f"has {len(name)} letters; {LONGEST_NAME} are the most"
    try:
        name.encode()
    except UnicodeEncodeError:  # half of a pair, or a byte of a folder's name that is not UTF-8
        return "is not valid Unicode, so no file can hold it"
    return ""


def class_ids(classes: Sequence[str], known: dict[str, int]) -> list[int]:
    """Return the source's id of each class; a class unknown to the source gets an id that none has.

    Example:
        >>> class_ids(["dog", "emu"], {"cat": 1, "dog": 18})
        [18, 19]
    """
    absent = [name for name in classes if name not in known]
    table = known | dict(zip(absent, free_ids(known.values(), len(absent)), strict=True))
    return [table[name] for name in classes]


def free_ids(used: Collection[int], number: int) -> list[int]:
    """Return ids that none has yet: those behind the largest, or the smallest where 64 bits end before.

    Example:
        >>> free_ids([2, 5], 2), free_ids([1, 2**63 - 1], 2)
        ([6, 7], [2, 3])
    """
    first = max(used, default=0) + 1
    if first + number - 1 <= LARGEST_ID:
        return list(range(first, first + number))
    taken = set(used)
    return list(islice((value for value in count(1) if value not in taken), number))


def _unknown(
    names: Sequence[str],
    position: int,
    classes: Sequence[str],
    table: dict[str, int],
    where: Callable[[int], str],
) -> list[str]:
    name = names[position]
    close = get_close_matches(name[:LONGEST_NAME], classes, n=1)
    hint = f" (did you mean {shown(close[0])}?)" if close else ""
    number = sum(other == name for other in names)
    others = sorted({other for other in names if other not in table and other != name})
    return [
        f"{where(position)}: class {shown(name)} is not in data.classes{hint}; "
        f"{counted(number, 'such object')}.",
        f"data.classes: {listed(classes)}",
        *([f"Other unknown classes: {', '.join(map(shown, others[:10]))}"] if others else []),
        "Add it to data.classes, or to data.ignore_classes to leave its objects out.",
    ]


def listed(names: Collection[object], limit: int = 100) -> str:
    """Return names or ids for a message: all of them, the first of very many.

    Example:
        >>> listed(["cat", "dog"]), listed([1, 2, 3], 2), listed([])
        ('cat, dog', '1, 2, ...', '(none)')
    """
    first = [cut(str(name)) for name in islice(names, limit)]
    return ", ".join([*first, *(["..."] if len(names) > limit else [])]) or "(none)"
