"""The dataset as a value, its split, and the native folder that holds it."""
