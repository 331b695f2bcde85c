"""What every generator keeps to: finite buffers, rows that do not see each other, half weights."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from crystalcodec.crystals import Crystals
from crystalcodec.generators.base import build_generator
from crystalcodec.generators.conditions import Conditions, Wanted
from crystalcodec.models.base import ModelError
from crystalcodec.registry import GENERATORS
from crystalcodec.representations.crystens import CrysTens
from crystalcodec.representations.density_cell import DensityCell
from crystalcodec.representations.density_cube import DensityCube
from crystalcodec.representations.ircr import IRCR
from crystalcodec.representations.slices import DensitySlices
from crystalcodec.representations.unimat import UniMat
from crystalcodec.representations.wyckoff_orbits import WyckoffOrbits
from crystalcodec.workflow.loop import _move_towards

TABLE = IRCR(max_sites=4, max_elements=2, tolerance=0.5)
GRIDS = {"latent_size": 4, "widths": (8, 16), "segmenter_widths": (8, 16)}
DENSE = {"hidden": 16, "n_parents": 4}
CASES = {
    "site_diffusion": (TABLE, {"width": 16, "messages": 8, "layers": 1, "composition_width": 16}),
    "orbit_diffusion": (
        WyckoffOrbits(max_orbits=4),
        {"width": 16, "messages": 8, "layers": 1, "composition_width": 16, "letter_width": 16},
    ),
    "site_codec": (TABLE, {**DENSE, "code": 8, "width": 16, "max_sites": 4}),
    "ircr_vae": (TABLE, {**DENSE, "code": 8, "channels": (8, 8, 8, 8)}),
    "wgan": (TABLE, {"hidden": 16, "physics": 1.0}),
    "wgan, pictures": (CrysTens(max_sites=4), {"channels": 4, "depth": 2}),
    "diffusion": (TABLE, {"widths": [8]}),
    "diffusion, with numbers beside": (UniMat(), {"widths": [8]}),
    "density_vae": (DensityCell(size=8, sigma=0.6, tolerance=0.5), GRIDS),
    "density_vae, cube": (
        DensityCube(edge=6.5, n_points=11, sigma=0.8, lenient=True, species_radius=0.7),
        GRIDS,
    ),
    "slice_cascade": (
        DensitySlices(size=32, width=10.0, sigma=0.5),
        {"patch": 1, "channels": (16,), "large_channels": (16,), "crop": 16},
    ),
}
SALT = Crystals.single(4.1 * np.eye(3), [[0.1, 0.1, 0.1], [0.6, 0.6, 0.6]], [19, 17])
COPPER = Crystals.single(3 * np.eye(3), [[0.0, 0, 0]], [29])


def _made(case, crystals):
    """A generator whose last layers are not zero, prepared with crystals, and their arrays."""
    representation, parameters = CASES[case]
    encoded = representation.encode(crystals)
    arrays = {name: torch.from_numpy(np.array(array)) for name, array in encoded.arrays.items()}
    torch.manual_seed(0)
    generator = build_generator(case.split(",")[0], representation, Conditions(), **parameters)
    generator.prepare(crystals, arrays)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return generator, arrays


def _sample(generator, n=2):
    settings = {"steps": 3} if "steps" in generator.sample_settings() else {}
    with torch.no_grad():
        return generator.eval().sample(n, Wanted(), torch.Generator().manual_seed(1), **settings)


def _all_finite(tensors):
    return all(t.isfinite().all() for t in tensors if t.is_floating_point())


def test_every_generator_has_a_case():
    assert {case.split(",")[0] for case in CASES} == {*GENERATORS}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("n", [1, 2])
def test_one_crystal_and_constant_entries_leave_everything_finite(case, n):
    try:
        generator, arrays = _made(case, Crystals.concatenate([SALT, COPPER])[:n])
    except ModelError as error:
        assert n == 1
        assert "nothing to learn" in str(error)  # noqa: PT017 - the others take it
        return
    before = copy.deepcopy(dict(generator.named_buffers()))
    average = copy.deepcopy(generator)
    _move_towards(average, generator, 0.1)
    # Where both are the same the average is, too: inf less inf would be none.
    assert all(torch.equal(before[name], b) for name, b in average.named_buffers())
    assert _all_finite(generator.state_dict().values())
    assert _all_finite(generator.eval().figures(arrays).values())


@pytest.mark.parametrize("case", CASES)
def test_weights_in_half_precision_still_sample(case):
    generator, _ = _made(case, Crystals.concatenate([SALT, COPPER]))
    own = generator.state_dict()
    halved = {k: t.half() if t.is_floating_point() else t for k, t in own.items()}
    assert _all_finite(halved.values())
    generator.load_state_dict({k: t.to(own[k].dtype) for k, t in halved.items()})
    made = _sample(generator)
    if case != "site_codec":  # NaN for a cell that does not close: counted by decoding
        assert _all_finite(made.values())
    decode = getattr(generator.representation, "decode", None)
    if decode is not None:
        decoded = decode({name: tensor.numpy() for name, tensor in made.items()})
        assert len(decoded.crystals) + len(decoded.failures) == 2


def _of_each_row(draw):
    """Random numbers of which each row's are its own, whatever the number of rows."""

    def drawn(*given, generator=None, **options):
        if generator is None:
            return draw(*given, **options)
        *limits, shape = given if isinstance(given[-1], tuple | torch.Size) else (given,)
        count[0] += 1
        rows = [
            draw(
                *limits,
                (1, *shape[1:]),
                generator=torch.Generator().manual_seed(100 * count[0] + i),
                **options,
            )
            for i in range(shape[0])
        ]
        return torch.cat(rows)

    count = [0]
    return drawn


# Their random numbers are in no rows: see their own tests.
NOT_IN_ROWS = ("site_diffusion", "orbit_diffusion")


@pytest.mark.parametrize("case", [case for case in CASES if case not in NOT_IN_ROWS])
def test_a_sample_does_not_see_the_others_of_its_batch(case, monkeypatch):
    generator, _ = _made(case, Crystals.concatenate([SALT, COPPER]))
    samples = []
    for n in (2, 5):
        with monkeypatch.context() as patched:
            for name in ("randn", "randint"):
                patched.setattr(torch, name, _of_each_row(getattr(torch, name)))
            samples.append(_sample(generator, n))
    few, many = samples
    for name, array in few.items():
        scale = array.nan_to_num().abs().max().clamp(min=1)
        torch.testing.assert_close(
            array / scale, many[name][:2] / scale, atol=1e-4, rtol=0, equal_nan=True
        )
    # The check is one: rows differ.
    assert any((a[0].nan_to_num() != a[1].nan_to_num()).any() for a in many.values())
