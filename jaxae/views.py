"""Views: what an encoder, a decoder and a prior are shown of a batch beside x and z.

A view is part of a model. `Plain` shows nothing more; others append the corruption's
mask or further arrays of the data, so that encoders and decoders stay functions of one
argument.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae.checks import as_flag, check_count, check_sizes, settle
from jaxae.errors import ArgumentError, check_choice, ensure, require
from jaxae.types import Batch
from jaxae.values import Value

Part = Literal["encoder", "decoder", "prior"]
BOTH: tuple[Part, ...] = ("encoder", "decoder")
PARTS: tuple[Part, ...] = (*BOTH, "prior")


class Field(NamedTuple):
    """A named array of a batch that the networks are shown.

    Attributes:
        shape: Of one example.
        categories: The values are whole numbers below this; 0 for real numbers.
        to: Who is shown it.
        embedding: The model learns a vector of this size for each category, which is
            shown in place of its number; 0 for the number itself.
    """

    shape: tuple[int, ...] = ()
    categories: int = 0
    to: tuple[Part, ...] = BOTH
    embedding: int = 0


class View(Value):
    """Base of the views: x and z alone.

    One of your own that looks at arrays of your own says so by `fields`, and data bring
    them by these names.

    Attributes:
        fields: The arrays of the data that are looked at, by their names.
        needs: The fields of the batch beside "inputs" that are looked at: these, and
            "mask".
        takes_missing: Whether x may have missing values.

    Example:
        >>> import jaxae, jax.numpy as jnp
        >>> from jaxae.views import Field, View
        >>> class Timed(View):
        ...     @property
        ...     def fields(self):
        ...         return {"time": Field(to=("decoder",))}
        ...     def decoder(self, z, batch):
        ...         return jnp.concatenate([z, batch["time"][:, None]], axis=-1)
        >>> recipe = jaxae.recipes.vae((6,), latent_dim=2)
        >>> recipe = recipe.replace(module=recipe.module.clone(view=Timed()))
    """

    takes_missing: ClassVar[bool] = True

    @property
    def fields(self) -> Mapping[str, Field]:
        """The arrays of the data that are looked at, by their names."""
        return {}

    @property
    def needs(self) -> frozenset[str]:
        """The fields of the batch beside "inputs" that are looked at."""
        return frozenset(self.fields)

    def shown_to(self, *parts: Part) -> dict[str, Field]:
        """Those of `fields` that any of these parts is shown."""
        return {k: form for k, form in self.fields.items() if {*parts} & {*form.to}}

    @property
    def num_labels(self) -> int:
        """How many labels there are, if "label" is looked at; else 0."""
        return self.fields.get("label", Field()).categories

    def encoder(self, batch: Batch) -> Any:
        """The encoder's argument."""
        return batch["inputs"]

    def decoder(self, z: Float[Array, "n ..."], batch: Batch) -> Any:
        """The decoder's argument, of a code and a batch with fields [n, ...]."""
        del batch
        return z

    def prior(self, batch: Batch) -> Float[Array, "n _"] | None:
        """What a prior depends on; None for nothing."""
        del batch
        return None


class Plain(View):
    """x and z alone."""


class MaskChannel(View):
    """The encoder is shown where values were removed; the decoder z alone.

    The mask as zeros and ones beside x; zeros where there is no mask. One more channel
    for images, one more entry per entry for vectors.
    """

    @property
    def needs(self) -> frozenset[str]:
        """The mask."""
        return frozenset({"mask"})

    def encoder(self, batch: Batch) -> Array:
        """x with the mask appended to its last axis."""
        x, mask = batch["inputs"], batch.get("mask")
        shape = (*x.shape[:-1], 1) if x.ndim == 4 else x.shape
        if mask is None:
            return jnp.concatenate([x, jnp.zeros(shape, x.dtype)], axis=-1)
        if x.ndim == 4:
            mask = mask.any(axis=-1, keepdims=True)
        shown = jnp.broadcast_to(mask, shape).astype(x.dtype)
        return jnp.concatenate([x, shown], axis=-1)


class Condition(View):
    """The networks are shown a further array of the data.

    Categories as a one-hot code, of which a first dense layer has a row for each, or as
    a learned vector, which for many categories has fewer weights. Both, and vectors,
    become constant channels of images and further entries of vectors; images become
    further channels of images, and are flattened for vectors, as codes are.

    Attributes:
        name: Of the array in the data, as "label" or "age".
        categories: It holds whole numbers below this; 0 for real numbers, which are
            shown as they are: bring them to about the size of 1.
        shape: Of one example of it; () for a number.
        to: Who is shown it: "encoder", "decoder", or "prior" for one that depends on
            it, as `priors.ConditionalPrior`.
        flatten: Show the encoder vectors, which for one that flattens images has fewer
            weights.
        embedding: The size of a category's learned vector; 0 for a one-hot code.

    Raises:
        ValueError: There is no one to be shown it, a number is negative, or there is an
            embedding of what is no single category.

    Example:
        >>> import jaxae
        >>> from jaxae.views import Chain, Condition
        >>> view = Chain((Condition("label", categories=10), Condition("age")))
        >>> sorted(view.needs)
        ['age', 'label']
    """

    name: str
    categories: int = 0
    shape: tuple[int, ...] = ()
    to: tuple[Part, ...] = BOTH
    flatten: bool = False
    embedding: int = 0

    def __post_init__(self) -> None:
        """Checks the attributes."""
        check_count("categories", self.categories, least=0)
        check_count("embedding", self.embedding, least=0)
        settle(self, as_flag, "flatten")
        named = isinstance(self.name, str) and self.name
        require(named, "name", self.name, "the name of an array in the data")
        require(self.name not in _TAKEN, "name", self.name, f"none of {_TAKEN}")
        some = isinstance(self.to, tuple) and len(self.to) > 0
        require(some, "to", self.to, f"a tuple of some of {PARTS}")
        for part in self.to:
            check_choice("to", part, Part)
        if self.shape:
            check_sizes("shape", self.shape)
        single = not self.embedding or (self.categories and not self.shape)
        require(single, "embedding", self.embedding, "0 but for a category of shape ()")

    @property
    def fields(self) -> Mapping[str, Field]:
        """The one array."""
        form = Field(self.shape, self.categories, self.to, self.embedding)
        return {self.name: form}

    def encoder(self, batch: Batch) -> Array:
        """x with the condition appended to its last axis."""
        x = batch["inputs"]
        x = x.reshape(x.shape[0], -1) if self.flatten else x
        return self._append(x, batch) if "encoder" in self.to else x

    def decoder(self, z: Float[Array, "n ... c"], batch: Batch) -> Array:
        """z with the condition appended to its last axis."""
        return self._append(z, batch) if "decoder" in self.to else z

    def prior(self, batch: Batch) -> Float[Array, "n _"] | None:
        """The condition as a vector."""
        if "prior" not in self.to:
            return None
        shown = self._shown(batch)
        return shown.reshape(shown.shape[0], -1)

    def _shown(self, batch: Batch, dtype: Any = jnp.float32) -> Float[Array, "n ... c"]:
        shown = batch[self.name]
        if self.categories and not self.embedding:
            shown = jax.nn.one_hot(shown, self.categories)
        return shown.reshape(*shown.shape, *[1] * (shown.ndim == 1)).astype(dtype)

    def _append(self, values: Float[Array, "n ... c"], batch: Batch) -> Array:
        shown = self._shown(batch, values.dtype)
        if values.ndim == 2:
            flat = shown.reshape(shown.shape[0], -1)
            return jnp.concatenate([values, flat], axis=-1)
        if shown.ndim == 2:
            shown = shown.reshape(len(values), *[1] * (values.ndim - 2), -1)
        space = values.shape[1:-1]
        fits = shown.shape[1:-1] in (space, (1,) * len(space))
        require(fits, f"the shape of {self.name!r}", shown.shape, f"images of {space}")
        planes = jnp.broadcast_to(shown, (*values.shape[:-1], shown.shape[-1]))
        return jnp.concatenate([values, planes], axis=-1)


def shown_by(look: Callable[..., Any], *arguments: Any) -> Any:
    """What a method of a view shows to a network.

    Raises:
        ValueError: Nothing; or see `looked_at`.
    """
    shown = looked_at(look, *arguments)
    nothing = f"view must show something, {look.__qualname__} returned None"
    ensure(shown is not None, nothing)
    return shown


def looked_at(look: Callable[..., Any], *arguments: Any) -> Any:
    """What a method of a view returns: for a prior, that may be None.

    Raises:
        ValueError: It looks at a field that is not there: that it doesn't declare, or
            that a code from a prior, or a prior's pseudo-input, doesn't have.
    """
    try:
        return look(*arguments)
    except KeyError as error:
        batch = sorted(arguments[-1])
        if error.args[0] in batch:  # a mistake of its own
            raise
        raise ArgumentError(
            f"view must look at declared fields alone, {look.__qualname__} looked at "
            f"{error} where there are {batch}"
        ) from error


_TAKEN = (
    *("x", "inputs", "missing", "mask", "weight", "counted", "filled"),
    # Arguments of `encode`, `sample` and the like, which conditions stand beside.
    *("key", "model", "codes", "count", "draw", "draws", "start", "end", "steps"),
    *("fill", "num_samples", "limits", "dims", "overlap"),
)


class Chain(View):
    """Several views, each of which appends to what the one before shows.

    Attributes:
        views: At least one.

    Raises:
        ValueError: There is none, or two show a field of the same name.
    """

    views: tuple[View, ...]

    def __post_init__(self) -> None:
        """Checks that there is one."""
        some = isinstance(self.views, tuple) and len(self.views) > 0
        require(some, "views", self.views, "a tuple of at least one")
        names = [name for view in self.views for name in view.fields]
        twice = sorted({name for name in names if names.count(name) > 1})
        ensure(not twice, f"views must show every field once, twice: {twice}")

    @property
    def takes_missing(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether x may have missing values."""
        return all(view.takes_missing for view in self.views)

    @property
    def fields(self) -> Mapping[str, Field]:
        """Those of all."""
        return {k: v for view in self.views for k, v in view.fields.items()}

    @property
    def needs(self) -> frozenset[str]:
        """Those of all."""
        return frozenset().union(*(view.needs for view in self.views))

    def encoder(self, batch: Batch) -> Any:
        """What the last one shows of what the others do."""
        for view in self.views:
            batch = {**batch, "inputs": view.encoder(batch)}
        return batch["inputs"]

    def decoder(self, z: Float[Array, "n ..."], batch: Batch) -> Any:
        """What the last one shows of what the others do."""
        for view in self.views:
            z = view.decoder(z, batch)
        return z

    def prior(self, batch: Batch) -> Float[Array, "n _"] | None:
        """What all of them show, in a row."""
        shown = [view.prior(batch) for view in self.views]
        some = [each for each in shown if each is not None]
        return jnp.concatenate(some, axis=-1) if some else None


class Visible(View):
    """Both networks are shown the mask, as {"values": ..., "mask": ...}.

    For networks that leave out what is hidden: as many values in every example, so that
    no others may be missing.
    """

    takes_missing = False

    @property
    def needs(self) -> frozenset[str]:
        """The mask."""
        return frozenset({"mask"})

    def encoder(self, batch: Batch) -> dict[str, Array]:
        """x and, where there is one, the mask."""
        return self.decoder(batch["inputs"], batch)

    def decoder(self, z: Float[Array, "n ..."], batch: Batch) -> dict[str, Array]:
        """z and, where there is one, the mask."""
        return {"values": z} | ({"mask": batch["mask"]} if "mask" in batch else {})
