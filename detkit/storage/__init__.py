"""Files that are written whole, run folders, digests and content keys."""
