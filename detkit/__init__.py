"""detkit: the detectors of the R-CNN lineage, from YAML configs."""
