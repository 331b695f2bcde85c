"""A few crystals, learnt by heart in seconds, must come back out, and as they are asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset
from crystalcodec.generators.base import build_generator
from crystalcodec.generators.conditions import Conditions, Wanted
from crystalcodec.representations.ircr import IRCR
from crystalcodec.workflow import RunConfig
from crystalcodec.workflow.generating.runs import open_generator
from crystalcodec.workflow.generating.sampling import sample_arrays
from crystalcodec.workflow.generating.training import train_generator

CRYSTALS = Crystals.concatenate(
    Crystals.single(np.eye(3) * constant, [[0.0, 0, 0], [x] * 3], numbers)
    for constant, x, numbers in ((5.6, 0.5, [11, 17]), (4.2, 0.5, [12, 8]), (4.9, 0.25, [3, 9]))
)
FORMULAS = ("NaCl", "MgO", "LiF")
SMALL = {"widths": [16, 32], "attention": 1, "high": 20.0}
TABLE = {"max_sites": 2, "max_elements": 2, "max_atomic_number": 20, "tolerance": 0.5}


def _learnt(steps, conditions=None):
    """A generator that was shown the crystals again and again, and their arrays."""
    representation = IRCR(**TABLE)
    conditions = conditions or Conditions()
    encoded = representation.encode(CRYSTALS)
    assert len(encoded) == 3
    arrays = {key: torch.from_numpy(array.copy()) for key, array in encoded.arrays.items()}
    told = {key: torch.from_numpy(rows) for key, rows in conditions.of(CRYSTALS, {}).items()}
    torch.manual_seed(0)
    generator = build_generator("diffusion", representation, conditions, **SMALL)
    generator.prepare(CRYSTALS, arrays)
    optimiser = torch.optim.Adam(generator.parameters(), betas=(0.9, 0.99))
    batch = {
        key: tensor.repeat(8, *[1] * (tensor.ndim - 1))
        for key, tensor in {**arrays, **told}.items()
    }
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 4e-3 * min(1, step / 20) * (1 - step / steps)
        optimiser.zero_grad()
        generator(batch).backward()
        torch.nn.utils.clip_grad_norm_(generator.parameters(), 1.0)
        optimiser.step()
    return generator


def _check(decoded, least):
    """All are decoded, and are the crystals that were learnt, each so often at least."""
    assert not decoded.failures
    found = list(decoded.crystals.formulas)
    assert set(found) == set(FORMULAS)
    assert all(found.count(formula) >= least for formula in FORMULAS)
    for crystal, formula in zip(decoded.crystals, found, strict=True):
        true = CRYSTALS[FORMULAS.index(formula)]
        between = crystal.frac_coords[1] - crystal.frac_coords[0]
        between -= true.frac_coords[1]
        assert np.abs(between - np.rint(between)).max() < 0.1
        assert crystal.volumes[0] == pytest.approx(true.volumes[0], rel=0.2)


def test_a_table_learns_by_heart():
    generator = _learnt(300)
    for sampler in ("dpm", "sde"):
        sampled = sample_arrays(generator, 24, settings={"steps": 25, "sampler": sampler})
        _check(sampled.decoded, least=2)


def test_a_condition_tells_which():
    conditions = Conditions.fit(["composition"], {})
    generator = _learnt(200, conditions)
    for formula in FORMULAS:
        sampled = sample_arrays(generator, 6, Wanted(formula=formula), settings={"steps": 20})
        assert sampled.decoded.crystals.formulas == (formula,) * 6
    without = sample_arrays(generator, 6, Wanted(formula="MgO"), settings={"guidance": 0.0})
    assert set(without.decoded.crystals.formulas) - {"MgO"}
    free = sample_arrays(generator, 12, settings={"steps": 20})
    assert len(set(free.decoded.crystals.formulas)) > 1


def test_a_run_from_the_recipe_to_the_crystals(tmp_path, monkeypatch):
    monkeypatch.setattr("crystalcodec.workflow.precision.computes_bfloat16", lambda: True)
    many = Crystals.concatenate([CRYSTALS] * 8)
    values = {"band_gap": np.tile([8.5, 7.8, 14.2], 8)}
    Dataset.from_crystals(many, properties=values).write(tmp_path / "data.parquet")
    config = RunConfig.of(
        {
            "data": {
                "dataset": str(tmp_path / "data.parquet"),
                "validation": str(tmp_path / "data.parquet"),
            },
            "representation": {"name": "ircr", "max_sites": 2, "tolerance": 0.5},
            "model": {"name": "diffusion", "widths": [8, 16]},
            "conditions": {"values": ["band_gap"], "crystal": ["elements"]},
            "training": {"epochs": 2, "batch_size": 12},
            "machine": {"device": "cpu", "precision": "bf16-mixed"},
        }
    )
    run = train_generator(config, tmp_path / "run")
    assert all(np.isfinite(row["validation_loss"]) for row in [run.record["history"]])
    again = open_generator(tmp_path / "run")
    settings = {"steps": 5, "guidance": 1.5}
    wanted = Wanted(elements=("Mg", "O"), values={"band_gap": 8.0})
    one, other = (
        sample_arrays(r.generator, 3, wanted, seed=2, settings=settings) for r in (run, again)
    )
    np.testing.assert_array_equal(one.arrays["ircr"], other.arrays["ircr"])
    assert len(one.decoded.crystals) + len(one.decoded.failures) == 3
