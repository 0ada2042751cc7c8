"""Readers and writers of dataset formats, without torch."""
