"""How a model uses its latent dimensions."""

import numpy as np
from jaxtyping import Float


def active_units(codes: Float[np.ndarray, "n d"], *, threshold: float = 0.01) -> int:
    """The dimensions whose posterior mean varies over the data.

    Burda et al. (2016), section 5.2: those with Var_x(E[z_j | x]) > 0.01.

    Args:
        codes: The means of q(z | x), as `jaxae.encode` returns them.
        threshold: In squared units of z.
    """
    return int((np.var(np.asarray(codes), axis=0) > threshold).sum())
