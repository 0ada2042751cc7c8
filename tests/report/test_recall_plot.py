from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np

from detkit.report.content import Curve
from detkit.report.recall_plot import curves_as_svg


def test_a_picture_of_its_own() -> None:
    x = np.array([0.0, 1.0])
    curves = [Curve("<one> & two", x, x), Curve("one point", x[:1], x[:1])]
    text = curves_as_svg([("first", "x", curves, (0.0, 1.0)), ("second", "y", curves[:1], None)])
    drawn = ET.fromstring(text)
    names = [element.text for element in drawn.iter() if element.tag.endswith("}text")]
    assert names.count("<one> & two") == 2
    assert {"first", "second", "one point", "x", "y"} <= set(names)
    assert "var(" not in text


def test_there_are_three_plots_in_a_row() -> None:
    panels = [
        (str(number), "x", [Curve("line", np.array([0.0]), np.array([0.0]))], None) for number in range(4)
    ]
    one, three, four = (ET.fromstring(curves_as_svg(panels[:number])) for number in (1, 3, 4))
    assert float(four.attrib["height"]) == 2 * float(three.attrib["height"])
    assert four.attrib["width"] == three.attrib["width"] != one.attrib["width"]
    places = [
        (float(plot.attrib["x"]), float(plot.attrib["y"])) for plot in four if plot.tag.endswith("}svg")
    ]
    assert len(set(places)) == 4
    assert places[3][0] == places[0][0]
