"""The programs that are compared, each for a Python of its own.

Of this repository they import what stands beside them here, and nothing that needs JAX
where their library does not; `jaxae` has the networks of the benchmark, too.
"""
