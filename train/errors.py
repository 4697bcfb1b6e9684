"""What can go wrong around a training: with its data, its directory, its hosts."""

from collections.abc import Iterable
from difflib import get_close_matches


class DataError(ValueError):
    """The data cannot be used; the message names the file and what was expected."""


class RunError(Exception):
    """A run is missing, incomplete, or in the way."""


class LostHost(RuntimeError):
    """Another host, or what connects them, is gone."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """What an error about an unknown name ends with: the nearest known ones, or ""."""
    by_letters = {each.lower(): each for each in known}
    close = get_close_matches(name.lower(), by_letters)
    found = " or ".join(by_letters[each] for each in close)
    return f"; did you mean {found}?" if found else ""
