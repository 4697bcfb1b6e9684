"""The version, apart from the package so that the build reads it without JAX."""

__version__ = "0.2.0.dev0"
