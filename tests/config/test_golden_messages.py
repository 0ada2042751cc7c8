"""What is said of mistakes in configs, and of keys, whole: as somebody read it."""

from __future__ import annotations

from detkit.config.explain import explain
from detkit.config.keys import every_key, holds, wanted
from detkit.config.schema import Config
from tests.config.test_load import MISTAKES, changed, mistakes
from tests.config.test_overrides import MISTAKES as OVERRIDES
from tests.config.test_overrides import refused
from tests.reference.golden import golden_text

MORE = [
    ("depth: 18", "depth: 19"),
    ("depth: 18", "depth: eighteen"),
    ("depth: 18", "depth: 018"),
    ("depth: 18", "depth: [18]"),
    ("depth: 18", "depth: {a: 1}"),
    ("depth: 18", "dept: 18"),
    ("lr: 1e-2", "lr: null"),
    ("lr: 1e-2", "lr: 0"),
    ("lr: 1e-2", "lr: 1e-2, nesterof: yes"),
    ("[cat, dog]", "[cat, 3]"),
    ("[cat, dog]", "{cat: 1}"),
    ("{type: rpn}", "{type: rpn, max_boxes: 3}"),
    ("{type: rpn}", "{typ: rpn}"),
    ("{type: rpn}", "[]"),
    ("{type: sgd, lr: 1e-2}", "{type: sgdd, lr: 1e-2}"),
    ("{type: layer4}", "{type: custom, target: here}"),
]


def test_messages_about_mistakes_are_the_golden_ones() -> None:
    lines = []
    for old, new in [*((old, new) for old, new, _ in MISTAKES), *MORE]:
        lines += [f"# {old!r} -> {new!r}", *mistakes(changed(old, new)), ""]
    for override, _ in OVERRIDES:
        lines += [f"# {override}", refused(override), ""]
    found = "\n".join(lines)
    assert found == golden_text("config_mistakes.txt", found)


def test_what_keys_hold_and_explain_says_is_the_golden() -> None:
    keys = dict.fromkeys(f"{name}: {wanted(holds(info))}" for name, _, info in every_key(Config))
    asked = ("", "data.resize", "train.optimizer", "max_boxes", "detector.proposals.anchors", "seed")
    found = "\n".join([*keys, "", *(f"$ explain {key}\n{explain(key)}\n" for key in asked)])
    assert found == golden_text("config_keys.txt", found)
