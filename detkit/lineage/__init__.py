"""The chain of detectors on one dataset: equal budgets, timing and the page."""
