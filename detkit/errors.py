"""The exceptions that are shown without a traceback."""

from __future__ import annotations


class UserError(ValueError):
    """Something the user gave is wrong: a file, a key, a value, a box.

    The message names the field or file, what was allowed and what came. The command line prints it
    on one screen and exits with status 2; a Python caller catches it as a `ValueError`.
    """


class PeerStoppedError(RuntimeError):
    """Another process of the same training ended, so this one could not go on.

    The other one's message says why. The command line exits with 130: this process did nothing wrong.
    """


class NonFiniteLossError(RuntimeError):
    """A loss became infinite or not a number, so the training stopped before it spoilt the weights.

    The message names the loss term, the images and the likely cause. The command line exits with 3.
    """
