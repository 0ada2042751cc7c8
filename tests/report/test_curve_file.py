from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np

from detkit.report.content import Curve
from detkit.report.curve_file import curves_as_svg


def test_a_picture_of_its_own() -> None:
    x = np.array([0.0, 1.0])
    curves = [Curve("<one> & two", x, x), Curve("one point", x[:1], x[:1])]
    text = curves_as_svg([("first", "x", curves, (0.0, 1.0)), ("second", "y", curves[:1], None)])
    drawn = ET.fromstring(text)
    names = [element.text for element in drawn.iter() if element.tag.endswith("}text")]
    assert names.count("<one> & two") == 2
    assert {"first", "second", "one point", "x", "y"} <= set(names)
    assert "var(" not in text
