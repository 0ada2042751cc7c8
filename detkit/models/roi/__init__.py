"""Region features, heads and the decision of the R-CNN family."""
