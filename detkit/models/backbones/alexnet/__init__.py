"""AlexNet (Krizhevsky et al., NIPS 2012)."""
