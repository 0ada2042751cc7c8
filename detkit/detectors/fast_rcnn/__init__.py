"""Fast R-CNN (Girshick, ICCV 2015)."""
