"""What a config means by what it leaves out: another default gives existing configs other results."""

from __future__ import annotations

import json

from detkit.config.schema import Config
from tests.reference.golden import golden_text


def test_defaults_are_the_golden_ones() -> None:
    schema = Config.model_json_schema()
    lines = []
    for name, part in sorted({**schema["$defs"], "Config": schema}.items()):
        for key, field in part.get("properties", {}).items():
            said = json.dumps(field["default"]) if "default" in field else field.get("const", "(to be given)")
            lines.append(f"{name}.{key}: {said}\n")
    found = "".join(lines)
    assert found == golden_text("config_defaults.txt", found)
