"""One colour for each class, the same in images, tables and curves."""

from __future__ import annotations

import colorsys

RGB = tuple[int, int, int]

# Chosen by eye to be told apart on photographs and on both a light and a dark page.
FIRST: tuple[RGB, ...] = (
    (59, 130, 246), (249, 115, 22), (22, 163, 74), (217, 70, 239), (202, 138, 4), (8, 145, 178),
    (239, 68, 68), (139, 92, 246), (101, 163, 13), (236, 72, 153), (13, 148, 136), (161, 98, 7),
)  # fmt: skip
GOLDEN_ANGLE = 0.6180339887


def class_colour(label: int) -> RGB:
    """Return the RGB colour of a class; it depends on the label alone.

    Args:
        label: class index from 0 on.
    """
    if label < len(FIRST):
        return FIRST[label]
    # Steps of the golden angle never come back to a hue; saturation and value tell neighbours apart.
    turn = label - len(FIRST)
    hue = (0.03 + turn * GOLDEN_ANGLE) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.85, 0.6)[turn % 2], (0.75, 0.9, 0.6)[turn % 3])
    return round(255 * red), round(255 * green), round(255 * blue)


def ink_on(colour: RGB) -> RGB:
    """Return the text colour, near black or white, that reads better on `colour`."""
    red, green, blue = ((value / 255) ** 2.2 for value in colour)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return (17, 17, 17) if luminance > 0.32 else (255, 255, 255)


def as_hex(colour: RGB) -> str:
    """Return a colour as CSS writes it, such as `#3b82f6`."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
