"""`detkit show-data`."""

from __future__ import annotations

from detkit.cli.arguments import ConfigName, Out, Overrides, checked
from detkit.cli.output import JsonFile, deliver


def show_data(
    config: ConfigName, overrides: Overrides = None, out: Out = None, json_file: JsonFile = None
) -> None:
    """Draw augmented batches as a detector sees them in training, with objects and anchors."""
    read = checked(config, overrides, parts=["train"])
    from detkit.workflows import show_data as workflow

    result = workflow.show_data(read, out)
    deliver(result, json_file, [batch["picture"] for batch in result["batches"]])
