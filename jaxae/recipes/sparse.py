"""Sparse auto-encoders: dictionaries of many atoms, few of which explain an example."""

from jaxae import networks
from jaxae.bottlenecks.sparse import Sparse, SparseActivation
from jaxae.hooks import resample_dead, tie_at_start
from jaxae.networks.dictionary import Dictionary
from jaxae.objectives.base import Weight
from jaxae.objectives.sparse import sparse_reconstruction
from jaxae.recipes.base import Shape, compose_model, compose_recipe
from jaxae.types import Recipe


def sparse_autoencoder(
    shape: Shape,
    latent_dim: int = 1024,
    *,
    activation: SparseActivation = "topk",
    k: int = 32,
    sparsity_weight: Weight = 0.01,
    bandwidth: float = 0.001,
    aux_weight: float | None = None,
    k_aux: int = 256,
    dead_after: int = 10_000,
    resample_every: int | None = None,
) -> Recipe:
    """A linear encoder, a sparse code and unit-norm atoms, for images or vectors.

    `activation` is "l1", "topk", "batch_topk", "jump_relu" or "gated", see
    `bottlenecks.Sparse`. "topk" and "batch_topk" activate `k` latents per example; the
    other three charge `sparsity_weight`, a number or a schedule, times their penalty
    beside half the squared error. Latents that `dead_after` examples did not activate
    are revived by AuxK, weighed by `aux_weight` (1/32 for the two with `k`, otherwise
    0, unless given), and by resampling after every `resample_every` steps.

    Vectors have the shape (d,). Give them about unit variance: the weights and
    `bandwidth` count in their unit.
    """
    if aux_weight is None:
        aux_weight = 1 / 32 if activation.endswith("topk") else 0.0
    bottleneck = Sparse(latent_dim, activation, k, bandwidth, dead_after)
    network = networks.MLP(()), Dictionary
    model = compose_model(shape, network, bottleneck, "gaussian")
    objective = sparse_reconstruction(
        sparsity_weight, aux_weight=aux_weight, k_aux=k_aux
    )
    hooks = [tie_at_start()]
    if resample_every is not None:
        hooks.append(resample_dead(resample_every))
    return compose_recipe(model, objective, hooks=tuple(hooks))
