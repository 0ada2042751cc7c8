"""The metrics of PASCAL VOC and COCO, and of classifiers and proposals."""
