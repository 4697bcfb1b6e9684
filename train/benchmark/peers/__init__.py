"""The programs that are compared, each for a Python of its own.

They import NumPy, their library and `worker`, and nothing else of this repository
(`jaxae` has the networks of the benchmark beside that).
"""
