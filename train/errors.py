"""What can go wrong around a training: with its data, its directory, its hosts."""


class DataError(ValueError):
    """The data cannot be used; the message names the file and what was expected."""


class RunError(Exception):
    """A run is missing, incomplete, or in the way."""


class LostHost(RuntimeError):
    """Another host, or what connects them, is gone."""
