"""The version of the installed package."""

from __future__ import annotations

from importlib import metadata

try:
    VERSION = metadata.version("detkit-rcnn")
except metadata.PackageNotFoundError:
    VERSION = "0+source"  # run from a checkout that is not installed
