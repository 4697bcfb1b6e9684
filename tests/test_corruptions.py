"""Each corruption's statistics, its mask, and the protocol that all of them share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxae import corruptions
from jaxae.corruptions import (
    Compose,
    GaussianNoise,
    Holes,
    Masking,
    SaltAndPepper,
    identity,
)

EVERY = {
    "identity": identity,
    "gaussian_noise": GaussianNoise(0.3),
    "clipped_noise": GaussianNoise(0.3, clip=True),
    "masking": Masking(0.4, fill=0.25),
    "salt_and_pepper": SaltAndPepper(0.4),
    "holes": Holes(3, 2, count=2, fill=0.25),
    "fixed_hole": Holes(3, 2, at=(1, 4), fill=0.25),
    "compose": Compose(
        (
            GaussianNoise(0.3),
            Holes(2),
        )
    ),
}
REMOVING = ["masking", "holes", "fixed_hole", "compose"]
RANDOM = [name for name in EVERY if name not in ("identity", "fixed_hole")]


def _images(b=4, h=7, w=9, c=3, seed=0):
    # Within (0.3, 0.7): no value is equal to a fill, to 0 or to 1.
    x = np.random.default_rng(seed).uniform(0.3, 0.7, (b, h, w, c))
    return jnp.asarray(x, jnp.float32)


# Eagerly: the random draws compile once per shape, and not once per corruption.
def _apply(corruption, x, seed=0):
    damaged, mask = corruption(jax.random.key(seed), x)
    return np.asarray(damaged), None if mask is None else np.asarray(mask)


def _close_to_rate(found, rate, count):
    """Within five standard deviations of a binomial frequency."""
    return abs(found - rate) < 5.0 * np.sqrt(rate * (1.0 - rate) / count)


# What all of them share


@pytest.mark.parametrize("name", EVERY)
def test_keeps_shape_and_dtype_and_returns_a_mask_where_values_are_removed(name):
    x = _images()
    damaged, mask = _apply(EVERY[name], x)
    assert damaged.shape == x.shape and damaged.dtype == x.dtype
    if name in REMOVING:
        assert mask.dtype == bool and mask.shape == (*x.shape[:-1], 1)
        assert mask.any() and not mask.all()
    else:
        assert mask is None


@pytest.mark.parametrize("name", EVERY)
def test_compiled_and_mapped_over_keys_it_is_the_same(name):
    x, keys = _images(), jnp.stack([jax.random.key(seed) for seed in range(3)])
    mapped, masks = jax.jit(jax.vmap(EVERY[name], in_axes=(0, None)))(keys, x)
    for i in range(3):
        damaged, mask = _apply(EVERY[name], x, seed=i)
        # XLA may fuse x + std · ε into one rounding.
        np.testing.assert_allclose(mapped[i], damaged, rtol=0, atol=1e-6)
        assert (mask is None) == (masks is None)
        assert mask is None or np.array_equal(masks[i], mask)


@pytest.mark.parametrize("name", RANDOM)
def test_follows_from_the_key_alone(name):
    x = _images()
    first, again, other = (_apply(EVERY[name], x, seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("name", RANDOM)
def test_every_image_is_damaged_differently(name):
    x = jnp.full((4, 7, 9, 3), 0.5)
    damaged, _ = _apply(EVERY[name], x)
    assert not np.array_equal(damaged[0], damaged[1])


@pytest.mark.parametrize("name", ["masking", "holes", "fixed_hole"])
def test_the_mask_is_where_values_changed(name):
    x = _images()
    damaged, mask = _apply(EVERY[name], x)
    changed = damaged != np.asarray(x)
    assert np.array_equal(changed, np.broadcast_to(mask, x.shape))
    assert np.all(damaged[changed] == 0.25)


def test_identity_returns_its_argument():
    x = _images()
    damaged, mask = identity(jax.random.key(0), x)
    assert damaged is x and mask is None


# Noise


def test_gaussian_noise_has_the_moments_of_a_normal():
    x, std = _images(b=200, h=8, w=8, c=2), 0.3
    noise = (_apply(GaussianNoise(std), x)[0] - np.asarray(x)) / std
    n = noise.size
    # Five standard errors: of ε they are 1, of ε² they are √2, of |ε| < 1 binomial.
    assert abs(noise.mean()) < 5 / np.sqrt(n)
    assert abs((noise**2).mean() - 1) < 5 * np.sqrt(2 / n)
    assert _close_to_rate((np.abs(noise) < 1).mean(), 0.682689, n)
    for a, b in [
        (noise[..., 0], noise[..., 1]),
        (noise[:, 1:], noise[:, :-1]),
        (noise[1:], noise[:-1]),
    ]:
        assert abs((a * b).mean()) < 5 / np.sqrt(a.size)


def test_clipped_noise_is_the_same_noise_clipped():
    x = _images()
    noisy, _ = _apply(GaussianNoise(0.5), x)
    clipped, _ = _apply(GaussianNoise(0.5, clip=True), x)
    assert noisy.min() < 0 and noisy.max() > 1
    assert np.array_equal(clipped, noisy.clip(0, 1))


def test_no_noise_changes_nothing():
    x = _images()
    assert np.array_equal(_apply(GaussianNoise(0.0), x)[0], x)


# Masking, salt and pepper


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(100, 10, 10, 3), (500, 20)])
def test_masking_hits_pixels_at_its_rate(rate, shape):
    x = jnp.full(shape, 0.5)
    damaged, mask = _apply(Masking(rate, fill=0.75), x)
    # Whole pixels of images; single entries of vectors.
    assert mask.shape == (*shape[:3], 1) if len(shape) == 4 else shape
    assert _close_to_rate(mask.mean(), rate, mask.size) or mask.mean() == rate
    assert np.array_equal(damaged, np.where(mask, 0.75, np.asarray(x)))


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
def test_salt_and_pepper_come_in_equal_parts(rate):
    x = _images(b=50, h=10, w=10)
    damaged, _ = _apply(SaltAndPepper(rate), x)
    for value in (0.0, 1.0):
        found = (damaged == value).mean()
        assert _close_to_rate(found, rate / 2, x.size) or found == rate / 2
    kept = (damaged != 0) & (damaged != 1)
    assert np.array_equal(damaged[kept], np.asarray(x)[kept])
    assert _close_to_rate(kept.mean(), 1 - rate, x.size) or kept.mean() == 1 - rate


# Holes


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (2, 5), (7, 1), (1, 9), (7, 9)])
def test_a_hole_is_one_box_wholly_inside(size):
    x = _images(b=64)
    _, mask = _apply(Holes(*size), x)
    for one in mask[..., 0]:
        rows, columns = np.flatnonzero(one.any(1)), np.flatnonzero(one.any(0))
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == size
        assert one.sum() == size[0] * size[1]


def test_a_hole_is_square_unless_given_a_width():
    assert _apply(Holes(3), _images())[1][0].sum() == 9


def test_holes_lie_everywhere_alike():
    # A 3x4 hole in 5x5 pixels has 3·2 places, each in a sixth of the images.
    _, mask = _apply(Holes(3, 4), _images(b=3000, h=5, w=5, c=1))
    rows, columns = mask[..., 0].any(2).argmax(1), mask[..., 0].any(1).argmax(1)
    counts = np.bincount(2 * rows + columns, minlength=6)
    assert counts.size == 6
    assert all(_close_to_rate(count / 3000, 1 / 6, 3000) for count in counts)


@pytest.mark.parametrize("at", [(0, 0), (4, 7), (1, 3)])
def test_a_fixed_hole_is_where_it_was_asked_for(at):
    expected = np.zeros((4, 7, 9, 1), bool)
    expected[:, at[0] : at[0] + 3, at[1] : at[1] + 2] = True
    assert np.array_equal(_apply(Holes(3, 2, at=at), _images())[1], expected)


def test_several_holes_may_overlap_but_are_drawn_apart():
    _, mask = _apply(Holes(2, count=3), _images(b=200))
    area = mask.sum(axis=(1, 2, 3))
    assert area.min() >= 4 and area.max() == 12 and np.unique(area).size > 2


# Composition


def test_compose_applies_in_order_and_unites_the_masks():
    x = _images()
    first, second = Holes(2, at=(0, 0), fill=0.2), Holes(2, at=(1, 1), fill=0.8)
    damaged, mask = _apply(
        Compose(
            (
                first,
                GaussianNoise(0.0),
                second,
            )
        ),
        x,
    )
    expected = np.zeros(x.shape, bool)
    expected[:, :2, :2] = expected[:, 1:3, 1:3] = True
    assert np.array_equal(np.broadcast_to(mask, x.shape), expected)
    assert np.all(damaged[:, 0, 0] == np.float32(0.2))
    assert np.all(damaged[:, 1:3, 1:3] == np.float32(0.8))
    assert np.array_equal(damaged[~expected], np.asarray(x)[~expected])


def test_compose_gives_every_part_its_own_key():
    # The variance of independent noise adds up; twice the same noise would have 4.
    x = jnp.zeros((100, 10, 10, 1))
    noise, none = _apply(
        Compose(
            (
                GaussianNoise(1.0),
                GaussianNoise(1.0),
            )
        ),
        x,
    )
    assert none is None
    assert abs(noise.var() - 2) < 5 * np.sqrt(8 / x.size)
    # Two independent halves hit three quarters; twice the same half hits a half.
    _, mask = _apply(
        Compose(
            (
                Masking(0.5),
                Masking(0.5),
            )
        ),
        x,
    )
    assert _close_to_rate(mask.mean(), 0.75, mask.size)


def test_compose_unites_masks_of_pixels_and_of_values():
    def red_only(key, x):
        mask = jnp.zeros(x.shape, bool).at[..., 0].set(True)
        return corruptions.fill_in(x, mask, 0.0), mask

    x = _images()
    _, mask = _apply(
        Compose(
            (
                Holes(2, at=(0, 0)),
                red_only,
            )
        ),
        x,
    )
    expected = np.zeros(x.shape, bool)
    expected[..., 0] = expected[:, :2, :2] = True
    assert np.array_equal(mask, expected)


# Errors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianNoise(-0.1), r"std must be .* got -0.1"),
        (lambda: GaussianNoise(float("nan")), r"std must be .* got nan"),
        (lambda: Masking(1.5), r"rate must be .* got 1.5"),
        (lambda: SaltAndPepper(-0.5), r"rate must be .* got -0.5"),
        (lambda: Holes(0), r"height must be .* got 0"),
        (lambda: Holes(3, 0), r"width must be .* got 0"),
        (lambda: Holes(3, count=0), r"count must be .* got 0"),
        (lambda: Holes(3, count=2, at=(0, 0)), r"count must be 1 .* got 2"),
        (lambda: Holes(3, at=(0, -1)), r"at must be .* got \(0, -1\)"),
        (lambda: Compose(()), r"corruptions must be a tuple of at least one"),
    ],
)
def test_a_bad_argument_is_named_when_the_corruption_is_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "corruption", [Holes(8, 1), Holes(1, 10), Holes(2, at=(6, 0)), Holes(2, at=(0, 8))]
)
def test_a_box_that_does_not_fit_says_the_images_size(corruption):
    with pytest.raises(ValueError, match="a box inside images of 7x9 pixels, got"):
        corruption(jax.random.key(0), _images())


def test_holes_need_images():
    with pytest.raises(ValueError, match=r"x must be images \[b, h, w, c\]"):
        Holes(2)(jax.random.key(0), jnp.zeros((3, 10)))
