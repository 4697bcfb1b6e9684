"""Families that are to disentangle factors, compared on data with known factors."""
