"""What networks are shown beside x and z."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxae import views


def test_a_plain_view_shows_the_damaged_input_and_the_code_alone():
    batch = {"x": jnp.zeros((2, 3)), "inputs": jnp.ones((2, 3)), "label": jnp.ones(2)}
    np.testing.assert_array_equal(views.Plain().encoder(batch), batch["inputs"])
    z = jnp.full((2, 1), 7.0)
    np.testing.assert_array_equal(views.Plain().decoder(z, batch), z)


def test_the_mask_is_a_channel_of_its_own_and_absent_pixels_are_none():
    x = jnp.ones((1, 2, 2, 1))
    mask = jnp.asarray([[[[True], [False]], [[False], [False]]]])
    shown = views.MaskChannel().encoder({"inputs": x, "mask": mask})
    assert shown.shape == (1, 2, 2, 2)
    np.testing.assert_array_equal(shown[..., 0], x[..., 0])
    np.testing.assert_array_equal(shown[..., 1], mask[..., 0].astype(np.float32))
    without = views.MaskChannel().encoder({"inputs": x})
    np.testing.assert_array_equal(without[..., 1], np.zeros((1, 2, 2)))


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 3, 2)])
def test_labels_are_added_one_hot(shape):
    view, label = views.Condition("label", 4), jnp.asarray([3, 0])
    x = jnp.arange(float(np.prod(shape))).reshape(shape)
    for shown in (
        view.encoder({"inputs": x, "label": label}),
        view.decoder(x, {"label": label}),
    ):
        assert shown.shape == (*shape[:-1], shape[-1] + 4)
        np.testing.assert_array_equal(shown[..., : shape[-1]], x)
        hot = np.eye(4)[np.asarray(label)].reshape(2, *[1] * (len(shape) - 2), 4)
        expected = np.broadcast_to(hot, (*shape[:-1], 4))
        np.testing.assert_array_equal(shown[..., shape[-1] :], expected)


def test_flattened_images_get_further_entries():
    view, label = views.Condition("label", 4, flatten=True), jnp.asarray([3, 0])
    x = jnp.arange(36.0).reshape(2, 3, 3, 2)
    shown = view.encoder({"inputs": x, "label": label})
    expected = np.concatenate([x.reshape(2, -1), np.eye(4)[[3, 0]]], axis=1)
    np.testing.assert_array_equal(shown, expected)
    z = jnp.ones((2, 5))
    assert view.decoder(z, {"label": label}).shape == (2, 9)
