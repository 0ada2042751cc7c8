"""EdgeBoxes (Zitnick and Dollar, ECCV 2014)."""
