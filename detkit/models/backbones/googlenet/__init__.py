"""GoogLeNet (Szegedy et al., CVPR 2015)."""
