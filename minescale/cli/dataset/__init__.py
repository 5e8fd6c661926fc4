"""``minescale dataset``: from polygons and coordinates to audited training sets."""
