"""Scenes to clear images: the composite of one tile, and the lazy cube over it."""
