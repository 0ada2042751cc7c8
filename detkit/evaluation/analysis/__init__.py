"""Analyses of match records: errors, outcomes, thresholds, comparisons."""
