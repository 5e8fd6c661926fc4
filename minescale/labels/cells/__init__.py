"""The grid of square cells that datasets are cut from: which cells, which pairs, which chance of being drawn."""
