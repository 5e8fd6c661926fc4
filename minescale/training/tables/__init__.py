"""Models of single pixels: a table of sampled pixels, and what scikit-learn makes of it."""
