"""ZFNet (Zeiler and Fergus, ECCV 2014)."""
