"""Labels and datasets: polygons and coordinates in, audited training sets out."""
