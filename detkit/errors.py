"""The one exception for mistakes a user can mend, shown without a traceback."""

from __future__ import annotations


class UserError(ValueError):
    """Something the user gave is wrong: a file, a key, a value, a box.

    The message names the field or file, what was allowed and what came. The command line prints it
    on one screen and exits with status 2; a Python caller catches it as a `ValueError`.
    """
