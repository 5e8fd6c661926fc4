"""Splits and what would make their scores better than the model."""
