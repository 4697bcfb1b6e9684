"""Timings as ratios, of programs that run in turn on the same machine."""
