"""Report pages and drawings."""
