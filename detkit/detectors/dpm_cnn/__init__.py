"""Deformable part models as convolutional networks (Girshick, Iandola, Darrell and Malik, CVPR 2015)."""
