"""CaffeNet, AlexNet as R-CNN and Fast R-CNN had it (Jia et al., ACM Multimedia 2014)."""
