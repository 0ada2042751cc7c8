"""The schema of config files and their strict reader."""
