"""The chain of detectors on one dataset: equal budgets, timing, ratios and the page."""
