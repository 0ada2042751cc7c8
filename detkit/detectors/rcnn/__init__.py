"""R-CNN (Girshick et al., CVPR 2014)."""
