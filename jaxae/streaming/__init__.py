"""Data that are read from the disk as they are needed."""
