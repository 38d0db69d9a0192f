"""Sizes of the two-stream model."""
