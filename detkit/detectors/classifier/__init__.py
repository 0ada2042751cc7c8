"""Image classifier: a backbone with the rest of its published network."""
