"""Imagery out: windows from any catalogue as a dataset."""
