"""Images as bytes: what the stack holds, behind a header that says what it is.

`MAGIC`, a checksum of all that follows, the length of the header in two bytes, the
header as JSON, and the words of the stack, of 32 bits. Numbers are little-endian.
"""

import hashlib
import json
import os
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import UInt8

from jaxae._version import __version__
from jaxae.compression.bit_swap import BitSwap
from jaxae.compression.bits_back import BitsBack
from jaxae.compression.densities import levels_of
from jaxae.compression.indexed import Indexed
from jaxae.compression.stack import Stack, random_words
from jaxae.errors import ArgumentError, ensure, require
from jaxae.inputs import check_model, check_rows
from jaxae.models.stacked import Stacked
from jaxae.recipe import Model
from jaxae.training.initial import by_name

FORMAT = 1
"""Goes up where an earlier version of jaxae could not read what is written."""

MAGIC = b"\x8aJAE\r\n\x1a\n"
"""That of no text, nor of what a transfer as text makes of it."""

LONGEST = 4096
"""Letters of a source."""

_DIGEST = 8  # bytes of the SHA-256, against accidents alone

Images = UInt8[np.ndarray, "n ..."]
Scheme = BitsBack | BitSwap | Indexed

_DAMAGED = "data must be whole, they are damaged or cut off"


class Header(NamedTuple):
    """What a file says of itself.

    Attributes:
        format: See `FORMAT`.
        jaxae: The version that wrote it.
        jax: The version that computed the probabilities.
        source: Where the model was, as whoever compressed called it.
        model: Checksum of the model's variables.
        prior: Of those of the prior of codes of whole numbers; "" without.
        probe: Checksum of what the model said of an image that everyone has.
        pixels: Checksum of the images.
        shape: Of one image.
        count: Of the images.
        step: Between two grey levels, in pixel values.
        borrowed: Random words beneath the images.
    """

    format: int
    jaxae: str
    jax: str
    source: str
    model: str
    prior: str
    probe: str
    pixels: str
    shape: tuple[int, ...]
    count: int
    step: int
    borrowed: int


def compress(
    model: Model, images: Any, *, prior: Model | None = None, source: str = ""
) -> bytes:
    """Images as bytes, of which `decompress` makes the same images.

    With Gaussian codes by bits back (Townsend et al. 2019,
    https://arxiv.org/abs/1901.04866), with a `Stacked` by Bit-Swap (Kingma et al. 2019,
    https://arxiv.org/abs/1905.06845): -ELBO of the model for all images, nats /
    (8 log 2) bytes. With codes of whole numbers their own length by the prior, and
    -log p(x | z). And some 300 bytes for the header and the bits that it begins with.
    One image at a time, on the CPU.

    Args:
        model: With Gaussian codes or codes of whole numbers, and a likelihood of grey
            levels, as `recipes.vae(shape, likelihood="bernoulli")` or "categorical".
        images: Bytes [n, *shape]; for a Bernoulli likelihood 0 and 255, or 0 and 1.
        prior: Of codes of whole numbers, as `samplers.code_density` fits it; None for
            others.
        source: Where the model is kept, to be found in the header.

    Raises:
        ValueError: The model is of another kind, the prior is none of its codes, or the
            images are not as it needs them.
        ImportError: constriction is not installed.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).integers(0, 2, (20, 4, 4, 1), np.uint8)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> model = jaxae.init(recipe, jax.random.key(0))  # or `fit(...).model`
        >>> data = jaxae.compression.compress(model, x)
        >>> jaxae.compression.read_header(data).count
        20
    """
    check_model(model)
    scheme, source = _scheme(model, prior), os.fspath(source)
    require(len(source) <= LONGEST, "source", f"{len(source)} letters", "a path")
    images = np.asarray(images)
    step = check_images(model, images)
    levels = (images // np.uint8(step)).reshape(len(images), -1).astype(np.int32)
    stack = Stack()
    for i in reversed(range(len(levels))):  # so that the first comes off first
        try:
            scheme.push(stack, levels[i], i)
        except ArgumentError as error:
            raise ArgumentError(f"images[{i}]: {error}") from error
    header = Header(
        format=FORMAT,
        jaxae=__version__,
        jax=jax.__version__,
        source=source,
        model=fingerprint(model),
        prior=fingerprint(prior) if prior else "",
        probe=_probe(scheme, images.shape[1:]),
        pixels=_digest(images.tobytes()).hex(),
        shape=images.shape[1:],
        count=len(images),
        step=step,
        borrowed=stack.borrowed,
    )
    about = json.dumps(header._asdict(), separators=(",", ":")).encode()
    words = stack.words.astype("<u4").tobytes()
    body = len(about).to_bytes(2, "little") + about + words
    return MAGIC + _digest(body) + body


def decompress(model: Model, data: bytes, *, prior: Model | None = None) -> Images:
    """The images [n, *shape] that `compress` was given.

    Args:
        model: The one that they were compressed with.
        data: What `compress` returned.
        prior: Likewise the one.

    Raises:
        ValueError: See `read_header`; or the model or the prior is another one, or
            gives other numbers on this computer or under this version of JAX.
        ImportError: constriction is not installed.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).integers(0, 2, (20, 4, 4, 1), np.uint8)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> model = jaxae.init(recipe, jax.random.key(0))  # or `fit(...).model`
        >>> data = jaxae.compression.compress(model, x)
        >>> bool((jaxae.compression.decompress(model, data) == x).all())
        True
    """
    check_model(model)
    header, words = _split(data)
    _check_same(header, model, prior)
    scheme = _scheme(model, prior)
    versions = f"JAX {header.jax} there and {jax.__version__} here"
    other = (
        "data cannot be read: the model gives other probabilities than it gave, as of "
        f"another recipe, on another computer or by another version ({versions})"
    )
    shape = header.shape
    expected = f"images of the model's shape {model.module.shape}"
    ensure(shape == model.module.shape, f"data must be {expected}, are of {shape}")
    ensure(_probe(scheme, shape) == header.probe, other)
    stack = Stack(words)
    images = np.empty((header.count, *shape), np.uint8)
    for i in range(header.count):
        levels = scheme.pop(stack, i)
        images[i] = (levels * header.step).astype(np.uint8).reshape(shape)
    same = np.array_equal(stack.words, random_words(header.borrowed))
    ensure(same and _digest(images.tobytes()).hex() == header.pixels, other)
    return images


def read_header(data: bytes) -> Header:
    """What a file says of itself.

    Raises:
        ValueError: It is none of `compress`, is damaged or cut off, or is of a later
            version.
    """
    return _split(data)[0]


def fingerprint(model: Model) -> str:
    """A checksum of a model's variables and their names."""
    total = hashlib.sha256()
    for name, values in sorted(by_name(jax.device_get(model.variables)).items()):
        array = np.asarray(values, order="C")
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.digest()[:_DIGEST].hex()


def _scheme(model: Model, prior: Model | None) -> Scheme:
    if model.module.num_codes:
        return Indexed(model, prior)
    ensure(prior is None, "prior is for codes of whole numbers, this model has others")
    upwards = isinstance(model.module, Stacked)
    return BitSwap(model) if upwards else BitsBack(model)


def _check_same(header: Header, model: Model, prior: Model | None) -> None:
    """Raises ValueError unless data were compressed with these."""
    expected = "the one that data were compressed with"
    same = fingerprint(model) == header.model
    there = f"{expected}, {header.source!r}"
    ensure(same, f"model must be {there}: its weights are others")
    if prior is not None:
        check_model(prior)
    same = (fingerprint(prior) if prior else "") == header.prior
    ensure(same, f"prior must be {expected}: its weights are others")


def _split(data: bytes) -> tuple[Header, np.ndarray]:
    """Header and words."""
    none = "data must be what `compress` wrote"
    ensure(isinstance(data, bytes | bytearray | memoryview), f"{none}, as bytes")
    data = bytes(data)
    ensure(data[: len(MAGIC)] == MAGIC, none)
    start = len(MAGIC) + _DIGEST
    digest, body = data[len(MAGIC) : start], data[start:]
    ensure(_digest(body) == digest, _DAMAGED)
    end = 2 + int.from_bytes(body[:2], "little")
    ensure(len(body) >= end and (len(body) - end) % 4 == 0, _DAMAGED)
    return _header(body[2:end]), np.frombuffer(body[end:], "<u4").astype(np.uint32)


def _header(text: bytes) -> Header:
    try:
        fields: dict[str, Any] = json.loads(text)
        later = f"written by jaxae {fields['jaxae']} in format {fields['format']}"
        known = f"of which this one, {__version__}, reads those up to {FORMAT}"
        if fields["format"] > FORMAT:
            raise ArgumentError(f"data must be readable, are {later}, {known}")
        header = Header(**fields)._replace(shape=tuple(fields["shape"]))
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArgumentError(_DAMAGED) from error
    numbers = (header.count, header.step, header.borrowed, *header.shape)
    ensure(all(type(each) is int and each >= 0 for each in numbers), _DAMAGED)
    return header


def check_images(model: Model, images: np.ndarray) -> int:
    """The step between two levels, in pixel values.

    Raises:
        ValueError: The images are not bytes of the model's shape and levels.
    """
    require(images.dtype == np.uint8, "images", str(images.dtype), "bytes (uint8)")
    check_rows(model.module.shape, images.shape, "images")
    levels = levels_of(model.module.likelihood)
    step = 255 // (levels - 1)
    if levels == 2 and images.max() <= 1:
        return 1
    others = images[images % np.uint8(step) != 0]
    kind = type(model.module.likelihood).__name__
    values = "0 and 255, or 0 and 1," if levels == 2 else f"multiples of {step}"
    ensure(others.size == 0, f"images must be {values} for {kind}, got {others[:3]}")
    return step


def _probe(scheme: Scheme, shape: tuple[int, ...]) -> str:
    """Checksum of what the model says of an image that everyone has."""
    size = int(np.prod(shape))
    levels = (37 * np.arange(size) % scheme.levels).astype(np.int32)
    return _digest(b"".join(each.tobytes() for each in scheme.probe(levels))).hex()


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:_DIGEST]
