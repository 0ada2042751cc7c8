"""Readers of what labelling tools export besides VOC, COCO and YOLO: tables, CVAT, LabelMe, Label Studio."""
