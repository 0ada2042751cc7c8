"""HOG + linear SVM (Dalal and Triggs, CVPR 2005)."""
