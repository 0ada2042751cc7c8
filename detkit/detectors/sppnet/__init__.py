"""SPP-net (He et al., ECCV 2014)."""
