"""Localizer: the class and the box of an image's one object, by regression."""
