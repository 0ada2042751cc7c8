"""The dataset doctor: survey, rules, fixes, and the fit of a detector to its data."""
