"""`detkit config show | schema | explain`."""

from __future__ import annotations

from typing import Annotated

import typer

from detkit.cli.arguments import ConfigName, Overrides, checked
from detkit.cli.output import JsonFile, deliver

config = typer.Typer(help="Look at configs and at what they may hold.", no_args_is_help=True)


@config.command()
def show(
    config: ConfigName,
    overrides: Overrides = None,
    comments: Annotated[bool, typer.Option("--comments", help="Explain every key.")] = False,
    json_file: JsonFile = None,
) -> None:
    """Print a config in full, defaults included; this also checks it."""
    from detkit.config.dump import dump_config

    read = checked(config, overrides)
    text = dump_config(read, comments=comments).rstrip("\n")
    deliver(read.model_dump(mode="json"), json_file, [text], is_document=True)


@config.command()
def schema(json_file: JsonFile = None) -> None:
    """Print the JSON Schema of configs, for editors."""
    import json

    from detkit.config.explain import schema as make

    made = make()
    deliver(made, json_file, [json.dumps(made, indent=2, ensure_ascii=False)], is_document=True)


@config.command()
def explain(
    key: Annotated[str, typer.Argument(metavar="[KEY]", help="Such as train.optimizer.lr, or lr.")] = "",
    json_file: JsonFile = None,
) -> None:
    """Say what a key means, what it may hold and what its default is."""
    from dataclasses import asdict

    from detkit.config.explain import describe
    from detkit.config.explain import explain as say

    meanings = [{**asdict(meaning), "keys": dict(meaning.keys)} for meaning in describe(key)]
    deliver({"key": key, "meanings": meanings}, json_file, say(key).splitlines())
