"""Commands on model packages."""
