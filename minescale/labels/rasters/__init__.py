"""Labels as pixels: masks, classes and distances on an image's grid."""
