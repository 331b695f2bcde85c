"""Samples decoded with other limits than those of the training."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from crystalcodec import registry
from crystalcodec.cli import app
from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset
from crystalcodec.representations.base import InvertibleRepresentation, RepresentationError
from crystalcodec.workflow import RunConfig, train
from crystalcodec.workflow.generating.decoders import DECODING, decoding_parameters, with_decoding
from crystalcodec.workflow.generating.folders import FinishedError, GenerationError
from crystalcodec.workflow.generating.generation import generate
from crystalcodec.workflow.generating.runs import open_generator

DECODED = [
    "crystal_graph",
    "crystal_image",
    "crystens",
    "density_cell",
    "density_cube",
    "ftcp",
    "ircr",
    "structure_factors",
    "unimat",
    "wyckoff_orbits",
    "xtal2png",
]


@pytest.fixture
def model(generator_values, tmp_path, monkeypatch):
    """A run of IRCR with a tolerance of 0.5, whose samples are crystals with noise."""
    from crystalcodec.workflow.generating import training

    monkeypatch.setattr(training, "write_sample_picture", lambda *given: None)
    rng = np.random.default_rng(0)
    crystals = Crystals.concatenate(
        [
            Crystals.single(a * np.eye(3), [[0.1, 0.2, 0.3], [0.6, 0.7, 0.8]], [11, 17])
            for a in rng.uniform(3, 4, 8)
        ]
    )
    for name in ("train", "validation"):
        Dataset.from_crystals(crystals).write(tmp_path / f"{name}.parquet")
    generator_values["representation"]["tolerance"] = 0.5
    generator_values["training"]["epochs"] = 1
    train(RunConfig.of(generator_values), tmp_path / "run")
    return tmp_path / "run"


def command(*arguments):
    return CliRunner().invoke(app, ["generate", *map(str, arguments), "-j", "1"])


def test_limits_of_the_decoder_are_those_given(model):
    """The same samples: all of them crystals within 0.5, none within 0.001."""
    assert len(generate(6, model=model, blur=0.03).crystals) == 6
    made = generate(6, model=model, blur=0.03, decoding={"tolerance": 0.001})
    assert len(made.crystals) == 0
    assert made.funnel.stages[1] == ("decoded", 0)
    assert made.record["n_crystals"] == 0
    assert sum(made.record["failures"]["decode"].values()) == 6
    assert made.record["model"]["representation"]["tolerance"] == 0.001
    assert made.record["identity"]["decoding"] == {"tolerance": 0.001}
    assert made.run.representation.tolerance == 0.001
    # What was trained is what it was.
    assert open_generator(model).representation.tolerance == 0.5
    exact = generate(6, model=model, decoding={"tolerance": 0.001})
    assert len(exact.crystals) == 6


@pytest.mark.parametrize(
    ("decoding", "error", "message"),
    [
        ({"max_sites": 8}, GenerationError, "not decoded by 'max_sites'.*tolerance.*training"),
        ({"tolerence": 0.1}, GenerationError, "did you mean 'tolerance'"),
        ({"noise_limit": 0.3}, GenerationError, "what decodes it: tolerance"),
        ({"tolerance": -1}, RepresentationError, "tolerance"),
        ({"tolerance": "wide"}, RepresentationError, "tolerance"),
    ],
)
def test_what_does_not_decode_is_refused(model, tmp_path, decoding, error, message):
    with pytest.raises(error, match=message):
        generate(3, model=model, decoding=decoding, folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command(model, tmp_path):
    given = ["--model", model, "-n", "4", "--set", "blur=0.03"]
    result = command(*given, "--decode", "tolerance=0.001", "-o", tmp_path / "none")
    assert result.exit_code == 1
    assert "nothing was decoded, with tolerance=0.001: --decode NAME=VALUE" in result.stderr
    result = command(*given, "-o", tmp_path / "wide")
    assert result.exit_code == 0, result.stderr
    assert "nothing was decoded" not in result.stderr
    record = json.loads((tmp_path / "none" / "generated.json").read_text())
    assert record["model"]["representation"]["tolerance"] == 0.001
    assert command(*given, "--decode", "tolerance", "-o", tmp_path / "bad").exit_code == 2
    # Other limits are another request.
    result = command(*given, "--decode", "tolerance=0.4", "-o", tmp_path / "wide")
    assert result.exit_code != 0
    assert not isinstance(result.exception, FinishedError)


def test_no_other_limits_are_the_same_run(model):
    run = open_generator(model)
    assert with_decoding(run, {}) is run


def test_the_run_that_is_given_stays_as_it_is(model):
    run = open_generator(model)
    other = with_decoding(run, {"tolerance": 0.2})
    assert other.generator.representation.tolerance == other.representation.tolerance == 0.2
    assert run.generator.representation.tolerance == run.representation.tolerance == 0.5
    assert other.generator.mean is run.generator.mean


def test_these_are_all_that_decode():
    every = {
        name: registry.load(registry.REPRESENTATIONS, name) for name in registry.REPRESENTATIONS
    }
    assert sorted(n for n, k in every.items() if issubclass(k, InvertibleRepresentation)) == DECODED


@pytest.mark.parametrize("name", DECODED)
def test_parameters_of_decoding_change_no_array(name):
    """Changed one by one, they leave what a crystal is encoded to."""
    kind = registry.load(registry.REPRESENTATIONS, name)
    size = {"size": 8} if name == "density_cell" else {}
    plain = kind(**size)
    crystals = Crystals.single(4.2 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [55, 17])
    if plain.needs_fit:
        plain = plain.fit(crystals)
    there = decoding_parameters(plain)
    assert there, "a decoder without limits"
    other = {"decoder": "robust", "lenient": not there.get("lenient")}
    before = plain.encode(crystals)
    for parameter, value in there.items():
        changed = other.get(parameter, 0.45)
        assert changed != value
        after = kind(**{**size, parameter: changed}).encode(crystals)
        assert before.arrays.keys() == after.arrays.keys()
        for key, array in before.arrays.items():
            np.testing.assert_array_equal(array, after[key])
    assert set(there) <= DECODING
