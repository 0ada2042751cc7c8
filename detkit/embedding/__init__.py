"""Vectors of labelled objects, their neighbours, a map of them, and what the neighbours say of the labels."""
