"""Training: from a dataset, a split and a configuration to a model package."""
