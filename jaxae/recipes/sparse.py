"""Sparse auto-encoders: dictionaries of many atoms, few of which explain an example."""

from __future__ import annotations  # help() shows names, not types

from jaxae import networks
from jaxae.bottlenecks.sparse import Sparse, SparseActivation
from jaxae.hooks import ResampleDead, TieAtStart
from jaxae.networks.pairs import Shape
from jaxae.objectives.base import Weight
from jaxae.objectives.sparse import SparseReconstruction
from jaxae.recipe import Recipe
from jaxae.recipes.base import compose_model, compose_recipe
from jaxae.types import Hook


def sparse_autoencoder(
    shape: Shape,
    latent_dim: int = 1024,
    *,
    activation: SparseActivation = "topk",
    k: int = 32,
    sparsity_weight: Weight = 0.01,
    bandwidth: float = 0.3,
    aux_weight: Weight | None = None,
    k_aux: int = 256,
    dead_after: int = 10_000,
    resample_every: int | None = None,
    input_shape: Shape | None = None,
) -> Recipe:
    """A linear encoder, a sparse code and unit-norm atoms.

    Gao et al. 2024, https://arxiv.org/abs/2406.04093, and the activations of
    `bottlenecks.Sparse`. Give values of about unit variance: the weights and
    `bandwidth` count in their unit.

    Args:
        shape: The shape of one example.
        latent_dim: Atoms.
        activation: What makes the code sparse: "topk" and "batch_topk" activate `k`
            latents per example, the others charge `sparsity_weight` times a penalty
            beside half the squared error.
        k: Active latents per example, for "topk" and "batch_topk".
        sparsity_weight: Weight of the other activations' penalty; or a schedule.
        bandwidth: Width of the window around a threshold of "jump_relu"; small batches
            need more.
        aux_weight: Weight of AuxK, which revives dead latents; or a schedule. 1/32 for
            "topk" and "batch_topk" and otherwise 0 unless given.
        k_aux: Dead latents that AuxK explains an example with.
        dead_after: Examples without activity after which a latent is dead.
        resample_every: Steps between resamplings of dead latents; none unless given.
        input_shape: The shape of what the encoder sees of one example, where data bring
            "inputs" of another shape than x, as those of a transcoder may be.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.sparse_autoencoder((28, 28, 1), latent_dim=512, k=16)
    """
    if aux_weight is None:
        aux_weight = 1 / 32 if activation.endswith("topk") else 0.0
    bottleneck = Sparse(latent_dim, activation, k, bandwidth, dead_after)
    network = networks.MLP(()), networks.Dictionary
    module = compose_model(
        shape, network, bottleneck, "gaussian", input_shape=input_shape
    )
    objective = SparseReconstruction(sparsity_weight, aux_weight, k_aux)
    hooks: tuple[Hook, ...] = (TieAtStart(),)
    if resample_every is not None:
        hooks += (ResampleDead(resample_every),)
    # The loss has the auxiliary term, which is for the dead alone.
    monitor, title = "distortion_nats", "sparse auto-encoder"
    return compose_recipe(module, objective, hooks=hooks, monitor=monitor, title=title)
