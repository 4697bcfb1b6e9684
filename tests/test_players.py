"""Several optimizers in one: each part of the parameters is trained by its own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxae import objectives
from jaxae.objectives.base import Chain, Objective, each_its_own


def tree(seed):
    numbers = np.random.default_rng(seed).normal(size=(3, 4))
    a, b, c = (jnp.asarray(row, jnp.float32) for row in numbers)
    return {"model": {"w": a}, "objective": (b, ({}, c))}


def test_nested_players_move_as_if_they_were_alone():
    adam, sgd, momentum = optax.adam(0.1), optax.sgd(0.3), optax.sgd(0.2, 0.9)
    inner = each_its_own((sgd, each_its_own((adam, momentum))))
    together = each_its_own({"model": adam, "objective": inner})
    params = tree(0)
    alone = [
        (adam, params["model"]),
        (sgd, params["objective"][0]),
        (momentum, params["objective"][1][1]),
    ]
    state, states = together.init(params), [tx.init(own) for tx, own in alone]
    owns = [own for _, own in alone]
    for step in range(1, 4):
        grads = tree(step)
        parts = grads["model"], grads["objective"][0], grads["objective"][1][1]
        with jax.numpy_dtype_promotion("standard"):
            updates, state = together.update(grads, state, params)
            params = optax.apply_updates(params, updates)
            for i, ((tx, _), grad) in enumerate(zip(alone, parts, strict=True)):
                update, states[i] = tx.update(grad, states[i], owns[i])
                owns[i] = optax.apply_updates(owns[i], update)
    found = params["model"], params["objective"][0], params["objective"][1][1]
    jax.tree.map(np.testing.assert_array_equal, tuple(owns), found)
    assert params["objective"][1][0] == {}


class OwnPlayer(Objective):
    def tx(self, main):
        return optax.sgd(1.0)


def test_a_chain_gives_the_main_optimizer_to_parts_without_one():
    own = Chain((Objective(), OwnPlayer()))
    params = (jnp.ones(2), jnp.ones(2))
    tx = own.tx(optax.sgd(0.5))
    updates, _ = tx.update(params, tx.init(params), params)
    np.testing.assert_allclose(updates[0], [-0.5, -0.5])
    np.testing.assert_allclose(updates[1], [-1.0, -1.0])
    main = optax.sgd(1.0)
    assert Chain((Objective(), Objective())).tx(main) is None
    assert objectives.ELBO().tx(main) is None
