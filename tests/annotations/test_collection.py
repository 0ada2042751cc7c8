from __future__ import annotations

import gc

import pytest

from detkit.annotations.collection import paused_collection


@paused_collection()
def fail() -> None:
    assert not gc.isenabled()
    raise ValueError("inside")


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_left_as_it_was(enabled: bool) -> None:
    was = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ValueError, match="inside"):
            fail()
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was else gc.disable)()
