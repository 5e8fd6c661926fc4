"""Judging a model on a labelled set, always beside what trivial answers reach on the same samples."""
