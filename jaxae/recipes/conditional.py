"""The conditional variational auto-encoder."""

from __future__ import annotations  # help() shows names, not types

from jaxae import bottlenecks, objectives
from jaxae.checks import check_count
from jaxae.errors import ensure
from jaxae.likelihoods import Likelihood
from jaxae.networks import Networks
from jaxae.networks.pairs import Shape
from jaxae.objectives.base import Weight
from jaxae.priors import ConditionalPrior
from jaxae.recipe import Recipe
from jaxae.recipes.base import as_view, compose_model, compose_recipe
from jaxae.views import BOTH, PARTS, Condition


def conditional_vae(
    shape: Shape,
    latent_dim: int = 16,
    *,
    num_labels: int = 10,
    conditions: tuple[Condition, ...] = (),
    conditional_prior: bool = False,
    network: Networks = "mlp",
    likelihood: str | Likelihood | None = None,
    beta: Weight = 1.0,
    num_samples: int = 1,
) -> Recipe:
    """p(x | z, label) and q(z | x, label) (Sohn et al. 2015).

    https://papers.nips.cc/paper/5775. The prior is N(0, I), or p(z | label). Both
    networks see the label as a one-hot code, so that z is left with what the label does
    not say. Data need a "label" [n] of whole numbers below `num_labels`, and what other
    conditions there are by their names, of every example: learning from some that have
    a label and others that have none (semi-supervised) is not what this is for.

    Args:
        shape: The shape of one example.
        latent_dim: The number of latent dimensions.
        num_labels: How many labels there are; 0 for data without.
        conditions: What the networks are shown beside the label.
        conditional_prior: Learn p(z | label) and what of the conditions is shown to the
            prior, rather than take N(0, I); see `priors.ConditionalPrior`.
        network: The encoder and the decoder, by name, as a pair of `jaxae.networks`, or
            as two modules of your own.
        likelihood: p(x | z), by name or as a module. Unless given, "bernoulli", under
            which the data are binarised afresh at every step; of pictures in colour
            "gaussian_optimal".
        beta: Weight of the rate, the KL divergence from the prior; or a schedule.
        num_samples: Samples of the code per example and step.

    Example:
        >>> import jaxae
        >>> age = jaxae.views.Condition("age")
        >>> recipe = jaxae.recipes.conditional_vae(
        ...     (28, 28, 1), latent_dim=2, num_labels=10, conditions=(age,)
        ... )
    """
    check_count("num_labels", num_labels, least=0)
    to = PARTS if conditional_prior else BOTH
    label = (Condition("label", categories=num_labels, to=to),) if num_labels else ()
    view = as_view((*label, *conditions), network)
    ensure(view.fields, "conditions must not be empty where num_labels is 0")
    ensure(
        view.shown_to("prior") or not conditional_prior,
        'conditions must be shown to the "prior", one at least, for a conditional one',
    )
    prior = ConditionalPrior(latent_dim) if conditional_prior else None
    bottleneck = bottlenecks.Gaussian(latent_dim)
    module = compose_model(
        shape, network, bottleneck, likelihood, prior=prior, view=view
    )
    objective = objectives.ELBO(beta)
    title = "conditional variational auto-encoder"
    return compose_recipe(module, objective, num_samples=num_samples, title=title)
