"""What is built on match records: errors, outcomes, thresholds, comparisons."""
