"""Schedules for weights and learning rates: values that map a step to a number.

Wherever a number is taken as a weight, a schedule is too, or any function of optax.
"""

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxae.checks import as_finite, check_count, settle
from jaxae.errors import must_define, require
from jaxae.values import Value


class Schedule(Value):
    """Base of the schedules: step -> number.

    Example:
        >>> import jaxae
        >>> class Halving(jaxae.schedules.Schedule):
        ...     steps: int
        ...     def __call__(self, step):
        ...         return jnp.exp2(-jnp.asarray(step, float) / self.steps)
        >>> float(Halving(100)(200))
        0.25
        >>> recipe = jaxae.recipes.vae((6,), latent_dim=2, beta=Halving(100))
    """

    def __call__(self, step: ArrayLike) -> Float[Array, "..."]:
        """The number at a step, counted from 0."""
        raise must_define(self, "__call__(self, step)", "one number")


class Linear(Schedule):
    """From `start` to `end` in a straight line over `steps`, then `end`.

    Attributes:
        start: At step 0.
        end: From step `steps` on.
        steps: Of the way from one to the other.

    Raises:
        ValueError: `steps` is below 1, or another is no finite number.

    Example:
        >>> float(Linear(0.0, 1.0, steps=10)(5))
        0.5
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        """Checks the numbers."""
        check_count("steps", self.steps)
        settle(self, as_finite, "start", "end")

    def __call__(self, step: ArrayLike) -> Float[Array, "..."]:
        """The number at a step, counted from 0."""
        schedule = optax.linear_schedule(self.start, self.end, self.steps)
        return jnp.asarray(schedule(step))


class Cosine(Schedule):
    """From `start` to `end` along half a cosine over `steps`, then `end`.

    Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983, without restarts.

    Attributes:
        start: At step 0.
        end: From step `steps` on.
        steps: Of the way from one to the other.

    Raises:
        ValueError: `steps` is below 1, or another is no finite number.

    Example:
        >>> float(Cosine(1.0, 0.0, steps=10)(10))
        0.0
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        """Checks the numbers."""
        check_count("steps", self.steps)
        settle(self, as_finite, "start", "end")

    def __call__(self, step: ArrayLike) -> Float[Array, "..."]:
        """The number at a step, counted from 0."""
        share = jnp.clip(jnp.asarray(step, jnp.float32) / self.steps, 0.0, 1.0)
        fall = 0.5 * (1.0 + jnp.cos(jnp.pi * share))
        return self.end + (self.start - self.end) * fall


class Cyclical(Schedule):
    """Rises from 0 to `peak` and stays there, again and again.

    Fu et al. 2019, https://arxiv.org/abs/1903.10145.

    Attributes:
        steps: Of a cycle.
        peak: The highest value.
        ratio: R, the part of a cycle in which the value rises linearly.

    Raises:
        ValueError: `steps` is below 1, `peak` not above 0, or `ratio` not in (0, 1].

    Example:
        >>> [float(Cyclical(steps=4)(step)) for step in range(6)]
        [0.0, 0.5, 1.0, 1.0, 0.0, 0.5]
    """

    steps: int
    peak: float = 1.0
    ratio: float = 0.5

    def __post_init__(self) -> None:
        """Checks the numbers."""
        check_count("steps", self.steps)
        settle(self, as_finite, "peak", "ratio")
        require(self.peak > 0, "peak", self.peak, "above 0")
        require(0 < self.ratio <= 1, "ratio", self.ratio, "in (0, 1]")

    def __call__(self, step: ArrayLike) -> Float[Array, "..."]:
        """The number at a step, counted from 0."""
        phase = jnp.mod(jnp.asarray(step), self.steps).astype(jnp.float32)
        return self.peak * jnp.minimum(phase / (self.ratio * self.steps), 1.0)
