"""Vectors in: polygons and points from any common file, checked, repaired, clipped, named."""
