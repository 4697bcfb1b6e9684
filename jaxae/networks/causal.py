"""A small causal transformer: the logits of every code given the codes before it."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from jaxae.checks import check_count
from jaxae.errors import require
from jaxae.values import Module


class CausalTransformer(Module):
    """Codes -> the logits of p(c_i | c_1, ..., c_{i-1}) at every position i.

    A decoder-only transformer with learned positions (Radford et al. 2018) and the norm
    before every layer. What a position sees is the code before it; the first one sees
    an entry of the embedding that stands for the beginning.

    `__call__` takes whole sequences, for their density. To draw one, `reserve` makes
    room for the keys and values of all positions in the collection "cache", and `step`
    then goes from code to code without computing those of earlier positions again.

    Attributes:
        num_codes: m; codes are whole numbers below it.
        length: t, the codes of a sequence.
        width: Entries of a token, a multiple of `num_heads`.
        depth: Transformer blocks.
        num_heads: Heads of the attention.

    Raises:
        ValueError: A number is below 1, or `width` is no such multiple.
    """

    num_codes: int
    length: int
    width: int = 64
    depth: int = 2
    num_heads: int = 4

    def __post_init__(self) -> None:
        for name in ("num_codes", "length", "width", "depth", "num_heads"):
            check_count(name, getattr(self, name))
        fits = self.width % self.num_heads == 0
        require(fits, "width", self.width, f"a multiple of {self.num_heads} heads")
        super().__post_init__()

    def setup(self) -> None:
        """Names the layers."""
        self.embed = nn.Embed(self.num_codes + 1, self.width)
        shape = (self.length, self.width)
        start = nn.initializers.normal(0.02)
        self.places = self.param("places", start, shape, jnp.float32)
        self.blocks = [CausalBlock(self.num_heads) for _ in range(self.depth)]
        self.norm = nn.LayerNorm()
        self.head = nn.Dense(self.num_codes)

    @property
    def begin(self) -> int:
        """What `step` takes as the code before the first one."""
        return self.num_codes

    def __call__(self, codes: Int[Array, "b t"]) -> Float[Array, "b t m"]:
        require(codes.shape[1:] == (self.length,), "codes", codes.shape, self._form)
        begin = jnp.full_like(codes[:, :1], self.begin)
        before = jnp.concatenate([begin, codes[:, :-1]], axis=1)
        h = self.embed(before) + self.places[None]
        mask = jnp.tril(jnp.ones((self.length, self.length), bool))[None, None]
        for block in self.blocks:
            h = block(h, mask)
        return self.head(self.norm(h))

    def reserve(self, count: int) -> None:
        """Fills the collection "cache" for `count` sequences of which there is none."""
        h = jnp.zeros((count, self.length, self.width), jnp.float32)
        for block in self.blocks:
            h = block(h)

    def step(
        self, before: Int[Array, " b"], position: Int[Array, ""]
    ) -> Float[Array, "b m"]:
        """The logits at `position`, given the code before it and the cache."""
        h = self.embed(before[:, None]) + self.places[position][None, None]
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h))[:, 0]

    @property
    def _form(self) -> str:
        return f"of shape [b, {self.length}]"


class CausalBlock(Module):
    """Attention to earlier positions and a two-layer network, each added to its input.

    With a mask, of a whole sequence; without one, of the next position of the cache.
    """

    num_heads: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t width"], mask: Bool[Array, "1 1 t t"] | None = None
    ) -> Float[Array, "b t width"]:
        attention = nn.MultiHeadDotProductAttention(self.num_heads, decode=mask is None)
        x = x + attention(nn.LayerNorm()(x), mask=mask)
        h = nn.Dense(4 * x.shape[-1])(nn.LayerNorm()(x))
        return x + nn.Dense(x.shape[-1])(jax.nn.gelu(h))
