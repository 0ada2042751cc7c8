"""Where could an object be? Boxes without classes: segmentation, edges, windows, and files of them."""
