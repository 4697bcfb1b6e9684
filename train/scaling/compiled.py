"""What a compiled program costs: what it moves between devices, memory, products.

All is read from the program that XLA made, for one device, without running it.
"""

import re
from typing import Any, NamedTuple

import numpy as np
from jax.stages import Compiled
from jaxtyping import Int64

from jaxae.errors import ArgumentError, require

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
)
"""The collectives, as XLA names them."""


class Collective(NamedTuple):
    """All collectives of a kind in a program.

    Attributes:
        count: How many are run; several arrays that travel together are one.
        bytes: Their arrays on one device, before or after, whichever is larger: the
            operand of an all-reduce, reduce-scatter, all-to-all or permutation, the
            result of an all-gather. What crosses a link depends on the algorithm.
    """

    count: int
    bytes: int


class Memory(NamedTuple):
    """What a program needs on one device, in bytes.

    Attributes:
        arguments: Arrays that it is given.
        outputs: Arrays that it returns.
        aliased: The part of the outputs that reuses donated arguments.
        temporaries: What it needs beside these while it runs.
    """

    arguments: int
    outputs: int
    aliased: int
    temporaries: int

    @property
    def peak(self) -> int:
        """All at once; XLA's own number leaves the temporaries out on the CPU."""
        return self.arguments + self.outputs - self.aliased + self.temporaries


def collectives(
    compiled: Compiled, *, unknown_trips: int | None = None
) -> dict[str, Collective]:
    """The collectives of a program by kind; kinds that it has none of are left out.

    The body of a loop counts as often as it runs, of the branches of a condition the
    one that moves most. Arrays have the types that the backend sends: on the CPU those
    of floats with less than 32 bits are widened.

    Args:
        compiled: The program.
        unknown_trips: What a loop whose length depends on the data counts as.

    Raises:
        ValueError: There is such a loop with collectives, and `unknown_trips` is None.
    """
    return read_collectives(compiled.as_text() or "", unknown_trips=unknown_trips)


def memory(compiled: Compiled) -> Memory:
    """What a program needs on one device.

    Raises:
        ValueError: The backend does not tell.
    """
    stats: Any = compiled.memory_analysis()
    require(stats is not None, "compiled", compiled, "of a backend with such numbers")
    return Memory(
        arguments=stats.argument_size_in_bytes,
        outputs=stats.output_size_in_bytes,
        aliased=stats.alias_size_in_bytes,
        temporaries=stats.temp_size_in_bytes,
    )


def flops(compiled: Compiled) -> float:
    """Floating-point operations of one device, as XLA counts them.

    XLA counts the body of a loop once, however often it runs, and nothing for calls of
    outside libraries.

    Raises:
        ValueError: The backend does not tell.
    """
    costs = compiled.cost_analysis() or {}
    require("flops" in costs, "compiled", compiled, "of a backend with such numbers")
    return float(costs["flops"])


def read_collectives(
    text: str, *, unknown_trips: int | None = None
) -> dict[str, Collective]:
    """`collectives` from a program's text, as XLA writes it."""
    totals = _Program(text, unknown_trips).totals().tolist()
    each = {kind: Collective(*row) for kind, row in zip(KINDS, totals, strict=True)}
    return {kind: found for kind, found in each.items() if found.count}


class _Instruction(NamedTuple):
    """`result = opcode(operands), attributes`."""

    result: str
    opcode: str
    operands: str
    attributes: str


_Totals = Int64[np.ndarray, "kinds 2"]  # counts and bytes

_NONE: _Totals = np.zeros((len(KINDS), 2), np.int64)
_COMMENT = re.compile(r"/\*.*?\*/")
_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{$")
_ASSIGNMENT = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (.+)")
_OPCODE = re.compile(r" ([\w\-]+)\(")
_NAME = re.compile(r"%([\w.\-]+)")
_ARRAY = re.compile(r"\b([a-z]+)(\d*)\w*\[([\d,<=]*)\](?:\{[^}]*?E\((\d+)\)[^}]*\})?")
_TRIPS = re.compile(r'"known_trip_count":\s*\{\s*"n":\s*"?(\d+)')
_CALLED = re.compile(
    r"\b(calls|to_apply|body|condition|branch_computations|"
    r"true_computation|false_computation)=(\{[^}]*\}|%[\w.\-]+)"
)
_BRANCHES = ("branch_computations", "true_computation", "false_computation")
_OPEN, _CLOSE = "([{", ")]}"


class _Program:
    """A program's text, taken apart as far as its collectives need it."""

    def __init__(self, text: str, unknown_trips: int | None):
        self._unknown_trips = unknown_trips
        self._lines: dict[str, str] = {}  # instruction -> what it is assigned
        self._computations: dict[str, list[str]] = {}  # -> its instructions
        self._known: dict[str, _Totals] = {}
        self._entry = ""
        current: list[str] = []
        for line in _COMMENT.sub("", text).splitlines():
            if assignment := _ASSIGNMENT.match(line):
                name, self._lines[name] = assignment[1], assignment[2]
                current.append(name)
            elif computation := _COMPUTATION.match(line):
                current = self._computations.setdefault(computation[2], [])
                self._entry = computation[2] if computation[1] else self._entry

    def totals(self) -> _Totals:
        """What the whole program does."""
        if not self._entry:
            raise ArgumentError("text must be a program of XLA, got one without ENTRY")
        return self._of_computation(self._entry)

    def _of_computation(self, name: str) -> _Totals:
        if name not in self._known:
            each = map(self._of_instruction, self._computations.get(name, []))
            self._known[name] = sum(each, _NONE)
        return self._known[name]

    def _of_instruction(self, name: str) -> _Totals:
        line = self._lines[name]
        # Most instructions neither communicate nor call anything.
        if not (_CALLED.search(line) or any(f" {kind}" in line for kind in KINDS)):
            return _NONE
        instruction = _parse(line)
        opcode = instruction.opcode
        if opcode.endswith(("-update", "-done")):  # counted where it started
            return _NONE
        kind = opcode.removesuffix("-start")
        if kind in KINDS:
            totals = _NONE.copy()
            totals[KINDS.index(kind)] = 1, self._moved(kind, instruction)
            return totals
        return self._called(name, instruction)

    def _called(self, name: str, instruction: _Instruction) -> _Totals:
        """What runs inside an instruction."""
        inside: dict[str, list[_Totals]] = {}
        for role, names in _CALLED.findall(instruction.attributes):
            each = [self._of_computation(called) for called in _NAME.findall(names)]
            inside.setdefault(role, []).extend(each)
        branches = [totals for role in _BRANCHES for totals in inside.get(role, [])]
        if branches:
            return max(branches, key=lambda totals: totals[:, 1].sum())
        called = sum(inside.get("calls", []) + inside.get("to_apply", []), _NONE)
        body = sum(inside.get("body", []), _NONE)
        condition = sum(inside.get("condition", []), _NONE)
        if not (body.any() or condition.any()):
            return called
        trips = self._trips(name, instruction)
        return called + body * trips + condition * (trips + 1)

    def _trips(self, name: str, loop: _Instruction) -> int:
        if known := _TRIPS.search(loop.attributes):
            return int(known[1])
        if self._unknown_trips is None:
            raise ArgumentError(
                f"the loop {name} has collectives and runs a number of times that "
                "depends on the data: give unknown_trips"
            )
        return self._unknown_trips

    def _moved(self, kind: str, instruction: _Instruction) -> int:
        if kind == "all-gather":
            result = instruction.result
            # The start of one has (operands, results).
            started = instruction.opcode.endswith("-start")
            return _bytes(_elements(result)[1] if started else result)
        # Backends write the operands with their types or without.
        if _ARRAY.search(instruction.operands):
            return _bytes(instruction.operands)
        names = _NAME.findall(instruction.operands)
        return sum(_bytes(_type_of(self._lines[name])) for name in names)


def _parse(line: str) -> _Instruction:
    result = _type_of(line)
    rest = line[len(result) :]
    opcode = _OPCODE.match(rest)
    if opcode is None:
        raise ArgumentError(f"text must be a program of XLA, got the line {line!r}")
    end = _closing(rest, opcode.end() - 1)
    return _Instruction(
        result, opcode[1], rest[opcode.end() : end], rest[end + 1 :].strip(", ")
    )


def _type_of(line: str) -> str:
    """The type that the right-hand side of an assignment begins with."""
    if line.startswith("("):
        return line[: _closing(line, 0) + 1]
    return line.partition(" ")[0]


def _closing(text: str, start: int) -> int:
    """Where the bracket at `start` is closed."""
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] in _OPEN) - (text[at] in _CLOSE)
        if depth == 0:
            return at
    raise ArgumentError(f"text must be a program of XLA, got the line {text!r}")


def _elements(tuple_type: str) -> list[str]:
    """Those of a tuple type, which may be tuples themselves."""
    elements, depth, start = [], 0, 1
    for at, letter in enumerate(tuple_type):
        depth += (letter in _OPEN) - (letter in _CLOSE)
        if (letter == "," and depth == 1) or depth == 0:
            elements.append(tuple_type[start:at].strip())
            start = at + 1
    return elements


def _bytes(types: str) -> int:
    """What all arrays in a type take, without the padding of tiled layouts."""
    return sum(_array_bytes(*found) for found in _ARRAY.findall(types))


def _array_bytes(letters: str, bits: str, sizes: str, packed: str) -> int:
    """Values of less than 8 bits take a byte unless the layout packs them.

    "pred" has no number and takes a byte; a "token" has none either, and no value.
    """
    if letters in ("token", "opaque"):
        return 0
    width = int(packed or max(8, int(bits or 8)))
    values = 1
    for size in filter(None, sizes.split(",")):
        values *= int(size.removeprefix("<="))
    return -(-values * width // 8)
