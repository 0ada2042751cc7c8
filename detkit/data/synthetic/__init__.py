"""The embedded dataset, drawn while it is read."""
