"""Images through codes of whole numbers: the codes by a prior, the pixels by p(x | z).

The code of an image is known, so that no bits come back: a file has -log p(z) -
log p(x | z), with an autoregressive p(z) that was fitted to codes of other images (van
den Oord et al. 2017, https://arxiv.org/abs/1711.00937, section 3.3).
"""

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from jaxae.compression.densities import Pixels, on_cpu, program
from jaxae.compression.stack import Stack
from jaxae.errors import ArgumentError, ensure
from jaxae.inputs import check_model
from jaxae.models.family import Family, call
from jaxae.recipe import Model
from jaxae.samplers.autoregressive import AutoregressiveModel
from jaxae.types import Batch, Variables

Levels = Int[np.ndarray, " d"]
Indices = Int[np.ndarray, " t"]


class Indexed(Pixels):
    """Images through codes of whole numbers."""

    def __init__(self, model: Model, prior: Model | None) -> None:
        """Checks that images can be compressed with both.

        Raises:
            ValueError: A part of the model does not allow that, or the prior is none of
                its codes.
        """
        super().__init__(model)
        self._shape = self.latents[0].indices.shape
        length, num_codes = int(np.prod(self._shape)), model.module.num_codes
        self._prior, variables = _check_prior(prior, length, num_codes)
        self._prior_variables = on_cpu(variables)

    def push(self, stack: Stack, levels: Levels, number: int) -> None:
        """Puts an image on the stack."""
        del number
        indices = self._encoded(levels)
        stack.push_symbols(levels, self._pixels(indices))
        stack.push_symbols(indices, self._chances(indices))

    def pop(self, stack: Stack, number: int) -> Levels:
        """Takes the last image off it."""
        del number
        indices = np.zeros(self._prior.shape, np.int32)
        for i in range(len(indices)):  # what comes later changes nothing before it
            chances = self._chances(indices)[i : i + 1]
            indices[i : i + 1] = stack.pop_symbols(chances)
        return stack.pop_symbols(self._pixels(indices))

    def probe(self, levels: Levels) -> list[np.ndarray]:
        """All that the model says of codes that everyone has."""
        del levels  # of which the decoder learns nothing
        indices = 37 * np.arange(*self._prior.shape) % self._module.num_codes
        indices = indices.astype(np.int32)
        return [self._chances(indices), self._pixels(indices)]

    def _encoded(self, levels: Levels) -> Indices:
        found = _encode(self._module, self._variables, self._shown(levels))
        return np.asarray(found).reshape(-1)

    def _chances(self, indices: Indices) -> Float[np.ndarray, "t m"]:
        """p(c_i | c_1, ..., c_{i-1}) of every value of every code."""
        found = _conditionals(self._prior, self._prior_variables, indices[None])
        return np.asarray(found)

    def _pixels(self, indices: Indices) -> Float[np.ndarray, "d levels"]:
        codes = _embed(self._module, self._variables, indices.reshape(self._shape))
        return self.table(codes)


def _check_prior(
    prior: Model | None, length: int, num_codes: int
) -> tuple[AutoregressiveModel, Variables]:
    expected = "what jaxae.samplers.code_density made of the model's codes"
    if prior is None:
        raise ArgumentError(f"prior must be {expected}, got None")
    check_model(prior)
    module = prior.module
    if not isinstance(module, AutoregressiveModel):
        came = type(module).__name__
        raise ArgumentError(f"prior must be {expected}, got {came}")
    sizes = module.shape, module.network.num_codes
    came = f"{sizes[0][0]} codes below {sizes[1]}"
    expected = f"of {length} codes below {num_codes}, as the model's are"
    same = sizes == ((length,), num_codes)
    ensure(same, f"prior must be {expected}, got one of {came}")
    return module, prior.variables


@program
def _encode(module: Family, variables: Variables, batch: Batch) -> Int[Array, "1 ..."]:
    key = jax.random.key(0)  # for nothing: the codes are known
    return call(module, variables, batch, key, method="encode")[0].indices


@program
def _embed(
    module: Family, variables: Variables, indices: Int[Array, "1 ..."]
) -> tuple[Float[Array, "1 1 ..."], ...]:
    return call(module, variables, indices, method="embed")


@program
def _conditionals(
    module: AutoregressiveModel, variables: Variables, indices: Int[Array, "1 t"]
) -> Float[Array, "t m"]:
    each = call(module, variables, (), {}, method="decode").base_dist
    return jax.nn.softmax(each.logits(indices))[0]
