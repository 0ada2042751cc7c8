"""Images and labels on their way to a model."""
