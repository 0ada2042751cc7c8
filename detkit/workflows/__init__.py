"""The workflow behind each command, as a plain function."""
