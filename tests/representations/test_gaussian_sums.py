"""Sums of Gaussians with images: the products that a fit steps with."""

from __future__ import annotations

import numpy as np
import pytest

from crystalcodec.representations.density_cube.gaussian_sums import GaussianSum

HEIGHTS = np.array([3.0, 1.0])


# Few images are multiplied one by one, many are summed on the grid first.
@pytest.mark.parametrize("n_images", [1, 5, 60])
@pytest.mark.parametrize("kinds", [3, 4])
def test_normal_equations_are_products_of_the_changes_of_the_field(n_images, kinds):
    rng = np.random.default_rng(n_images)
    sites = rng.uniform(1, 4, (2, 3))
    shifts = rng.uniform(-3, 3, (2 * n_images, 3))
    grid = np.linspace(0, 5, 8)
    total = GaussianSum(grid, 0.9, np.repeat([0, 1], n_images), shifts)

    def field(place, height):
        return total.field(total.tables(place)[0], height).ravel()

    step, changes = 1e-5, []
    for kind in range(4):
        for site in range(2):
            one, other = ((sites.copy(), HEIGHTS.copy()) for _ in range(2))
            for (place, height), sign in ((one, 1), (other, -1)):
                if kind:
                    place[site, kind - 1] += sign * step
                else:
                    height[site] += sign * step
            changes.append((field(*one) - field(*other)) / (2 * step))
    wanted = np.array(changes)[2 * (4 - kinds) :]
    normal = total._normal(*total.tables(sites), HEIGHTS, kinds)
    np.testing.assert_allclose(normal, wanted @ wanted.T, atol=1e-7 * np.abs(normal).max())
