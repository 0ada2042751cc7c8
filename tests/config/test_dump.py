"""A written config reads back as the same config."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from detkit.config.dump import dump_config, flow
from detkit.config.load import config_names, load_config, parse_config
from detkit.config.schema import Config
from detkit.errors import UserError
from detkit.storage.strict_yaml import read_yaml

SMALL = (Path(__file__).parent / "small.yaml").read_text(encoding="utf-8")
OVERRIDES = [
    [],
    [f"data.classes=[{', '.join(f'class {n}' for n in range(200))}]"],
    ["data.train.augment=[{type: flip}, {type: multi_scale, short_px: [320, 480]}]", "train.ema.decay=0.99"],
    ["train.schedule={type: step, at: [7.5, 11]}", "train.optimizer={type: adamw, lr: 1e-05}"],
    ['data.train={type: custom, target: "a.b:c", args: {x: 1.0, y: [1, {z: ~}], "": "", big: 1e400}}'],
]


@pytest.mark.parametrize("comments", [False, True])
@pytest.mark.parametrize("overrides", OVERRIDES)
def test_small_configs_survive_the_round_trip(overrides: list[str], comments: bool) -> None:
    config = parse_config(SMALL, overrides=overrides)
    text = dump_config(config, comments=comments)
    assert parse_config(text) == config
    assert dump_config(parse_config(text), comments=comments) == text
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.parametrize("name", config_names())
def test_shipped_configs_survive_the_round_trip(name: str) -> None:
    config = load_config(name)
    assert parse_config(dump_config(config, comments=True)) == config


@given(
    st.text()
    | st.sampled_from(["1e-4", "on", "null", "0777", "a: b", "a #b", "- a", "a\n b", "*a", "é", "...", ""])
)
def test_any_text_survives_the_round_trip(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return  # half a surrogate pair is no text that a file can hold
    config = parse_config(SMALL).model_copy(deep=True)
    data = config.data.model_copy(update={"classes": (text, text + "x")})
    written = dump_config(config.model_copy(update={"data": data}))
    assert parse_config(written).data.classes == (text, text + "x")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False)
    | st.text("ab:#,{}[]'\"\\ 0e-.\n"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab:# 0", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_arguments_of_custom_parts_keep_their_types(value: object) -> None:
    read = read_yaml(flow({"args": value}), "a.yaml").value["args"]
    assert read == value
    assert repr(read) == repr(value)


def test_arguments_of_custom_parts_are_lists_for_the_callable() -> None:
    config = parse_config(SMALL, overrides=OVERRIDES[-1])
    assert config.data.train.args["y"] == [1, {"z": None}]  # type: ignore[union-attr]


@pytest.mark.parametrize("length", range(3, 60))
def test_long_lists_fill_their_lines(length: int) -> None:
    """As many words a line as there is room for in 110 columns, and none more."""
    names = [f"{'x' * length}{n}" for n in range(90)]
    config = parse_config(SMALL, overrides=[f"data.classes=[{', '.join(names)}]"])
    lines = dump_config(config).splitlines()
    first = next(number for number, line in enumerate(lines) if line.lstrip().startswith("["))
    last = next(number for number, line in enumerate(lines) if line.endswith("]") and number >= first)
    block = lines[first : last + 1]
    assert len(block) > 1
    for line, following in pairwise(block):
        assert len(line) <= 110
        word = following.lstrip().partition(",")[0].rstrip("]")
        assert len(f"{line} {word},") > 110
    assert all(line.startswith(block[0].partition("[")[0] + " ") for line in block[1:])


def test_what_yaml_cannot_hold_is_refused() -> None:
    with pytest.raises(UserError, match="cannot be written to a config"):
        flow({"model": object()})


def test_every_key_is_written_in_the_order_of_the_schema_and_explained() -> None:
    config = parse_config(SMALL)
    plain, commented = dump_config(config), dump_config(config, comments=True)
    assert list(yaml.safe_load(plain)) == list(Config.model_fields)
    assert yaml.safe_load(plain)["train"]["validate_every"] == config.train.validate_every
    assert "#" not in plain
    lines = commented.splitlines()
    for number, line in enumerate(lines):
        if ":" in line.partition("#")[0]:
            assert "  # " in line or lines[number - 1].lstrip().startswith("# "), line
