"""Files of proposals: our own, and those of other tools."""
