"""Trained models as files: with their recipe, or as programs that need JAX alone."""
