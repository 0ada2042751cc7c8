r"""Names that files and users give, as names of files and as text that a terminal may get.

A class or an image can be called anything: `a/b`, `../../x`, 5 million letters, the sequence that makes a
terminal red, or bytes that are no text (Python keeps these as lone surrogates, `\udcff`).
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

LONGEST = 250  # bytes; file systems take 255, and an ending such as .jpeg follows
_LONGEST_WORD, _LONGEST_LINE = 255, 4000  # letters of a message; no part of a path is longer than the first

# Controls, ends of lines, marks that turn the direction of writing, and surrogates, which are no characters.
_UNPRINTABLE = "\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_HIDDEN_IN_LINES = re.compile(f"[{_UNPRINTABLE}]")
_HIDDEN = re.compile(f"[\n{_UNPRINTABLE}]")
# Also what means something in a path, and what a list with one name a line loses.
_UNSAFE = re.compile(rf"[\n{_UNPRINTABLE}/\\]|\A\s|\s\Z|\A\.(?=\.?\Z)|%(?=u)")
_LONG_WORD = re.compile(rf"[^\s/]{{{_LONGEST_WORD + 1},}}")


def file_name(name: str, longest: int = LONGEST) -> str:
    r"""Return a name as one part of a path, which stays in its folder, whatever the name holds.

    A letter that cannot stand there becomes %u and its number, so that another name gives another part and
    the name can be read from it; one that is too long ends in %u- and a digest. Ordinary names stay as they
    are.

    Args:
        name: any text.
        longest: bytes that the result may have.

    Example:
        >>> file_name("traffic light (50 %)"), file_name("../../a\n"), file_name("..")
        ('traffic light (50 %)', '..%u002F..%u002Fa%u000A', '%u002E.')
    """
    part = _UNSAFE.sub(lambda letter: f"%u{ord(letter[0]):04X}", name) or "%u"
    return part if len(part.encode()) <= longest else _marked(part, name, longest)


def file_names(names: Sequence[str], longest: int = LONGEST) -> list[str]:
    """Return `file_name` of each of several names, different also where a file system merges `a` and `A`.

    Example:
        >>> file_names(["dog", "Cat", "cat"])
        ['dog', 'Cat%u-697e94c8dff1', 'cat%u-19e985a2841e']
    """
    return distinct_parts([file_name(name, longest) for name in names], names, longest=longest)


def distinct_parts(
    parts: Sequence[str], names: Sequence[str], folders: Sequence[str] | None = None, longest: int = LONGEST
) -> list[str]:
    """Return parts of paths, those that a file system may take for the same with a digest of their names.

    Args:
        parts: N parts of paths, as `file_name` returns them.
        names: N names that they were made from.
        folders: N folders that they are for; None is one for all.
        longest: bytes that a part may have.

    Example:
        >>> distinct_parts(["a", "a", "b"], ["a.jpg", "a.png", "b.png"])
        ['a%u-6c667c702426', 'a%u-b507adc5993d', 'b']
    """
    keys = [
        _folded(f"{folder}/{part}") for folder, part in zip(folders or [""] * len(parts), parts, strict=True)
    ]
    count = Counter(key for key, _ in dict.fromkeys(zip(keys, names, strict=True)))
    return [
        part if count[key] == 1 else _marked(part, name, longest)
        for key, part, name in zip(keys, parts, names, strict=True)
    ]


def drawn_files(images: Sequence[str]) -> list[PurePosixPath]:
    """Return the file that each image is drawn into, below a folder of drawings; all are different.

    An image keeps its folders and its stem; images of one folder that share a stem keep their whole names.

    Args:
        images: N relative paths, with /; of an absolute one the first / is left off.

    Example:
        >>> list(map(str, drawn_files(["a/1.png", "b/1.png", "../2.jpg", "3.jpg", "3.png"])))
        ['a/1.jpg', 'b/1.jpg', '%u002E./2.jpg', '3.jpg.jpg', '3.png.jpg']
    """
    paths = [PurePosixPath(image.lstrip("/")) for image in images]
    folders = [PurePosixPath(*map(file_name, path.parent.parts)) for path in paths]
    stems = [file_name(path.stem) for path in paths]
    count = Counter(_folded(str(folder / stem)) for folder, stem in zip(folders, stems, strict=True))
    names = [
        stem if count[_folded(str(folder / stem))] == 1 else file_name(path.name)
        for path, folder, stem in zip(paths, folders, stems, strict=True)
    ]
    parts = distinct_parts(names, images, list(map(str, folders)))
    return [folder / f"{part}.jpg" for folder, part in zip(folders, parts, strict=True)]


def counted(number: int, thing: str) -> str:
    """Return a number with what it counts, in the singular or plural.

    Example:
        >>> counted(1, "image"), counted(1200, "box"), counted(0, "class"), counted(2, "epoch")
        ('1 image', '1,200 boxes', '0 classes', '2 epochs')
    """
    ending = "es" if thing.endswith(("s", "x", "tch")) else "s"
    return f"{number:,} {thing}{'' if number == 1 else ending}"


def one_file(names: Sequence[str], folder: Path) -> tuple[int, int] | None:
    """Return the places of two names that are one file in a folder; None where all are files of their own.

    Args:
        names: file names.
        folder: an existing folder, of which it is tried out whether it tells `A` from `a`.

    Example:
        >>> one_file(["a.txt", "b.txt", "a.txt"], Path("/tmp"))
        (0, 2)
    """
    compared = names if _tells_case(folder) else [_folded(name) for name in names]
    first: dict[str, int] = {}
    pairs = ((first.setdefault(name, place), place) for place, name in enumerate(compared))
    return next((pair for pair in pairs if pair[0] != pair[1]), None)


def visible(text: str) -> str:
    r"""Return a text with what a terminal would obey, or not show, as \u and its number; ends of lines stay.

    Within quotes the result stands for the same text in JSON.

    Example:
        >>> print(visible("\x1b[31mred"))
        \u001b[31mred
    """
    return _HIDDEN_IN_LINES.sub(_number, text)


def one_line(text: str) -> str:
    """Return `visible` with the ends of lines as numbers, too, for a label or an element of a file."""
    return _HIDDEN.sub(_number, text)


def message(text: str) -> str:
    """Return `one_line` of a line that people read, cut in the middle where a word or all of it is too long.

    Example:
        >>> message("no class " + "x" * 100_000)[:20], len(message("x" * 100_000))
        ('no class xxxxxxxxxxx', 177)
    """
    return one_line(_cut(_LONG_WORD.sub(lambda word: _cut(word[0], _LONGEST_WORD), text), _LONGEST_LINE))


def encodable(text: str) -> str:
    r"""Return a text with lone surrogates, which UTF-8 does not have, as `visible` shows them.

    Example:
        >>> print(encodable("\udcff"))
        \udcff
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _tells_case(folder: Path) -> bool:
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".detkit") as probe:
        file = Path(probe.name)
        return not file.with_name(file.name.upper()).exists()


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    start, end = longest // 2, longest // 8
    return f"{text[:start]}...({len(text) - start - end:,} more)...{text[-end:]}"


def _number(letter: re.Match[str]) -> str:
    return f"\\u{ord(letter[0]):04x}"


def _marked(part: str, name: str, longest: int) -> str:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    mark = f"%u-{digest}"
    return part.encode()[: longest - len(mark)].decode(errors="ignore") + mark


def _folded(part: str) -> str:
    """Return what a file system compares that tells neither case nor forms of composition apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", part).casefold())
