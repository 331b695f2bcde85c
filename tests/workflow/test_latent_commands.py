"""The commands ``crystalcodec latent``, on a run trained for a moment."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from typer.testing import CliRunner

from crystalcodec.cli import app
from crystalcodec.crystals import Crystals
from crystalcodec.io import write
from crystalcodec.workflow import RunConfig
from crystalcodec.workflow.generating.training import train_generator
from crystalcodec.workflow.latent import LatentError, open_latent
from crystalcodec.workflow.runs import RunError

pytestmark = pytest.mark.pictures


@pytest.fixture(scope="module")
def trained(tmp_path_factory, made_dataset):
    """A run of the site codec with a branch, and its data."""
    folder = tmp_path_factory.mktemp("latent")
    made_dataset(40, 0).write(folder / "train.parquet")
    made_dataset(10, 1).write(folder / "validation.parquet")
    config = RunConfig.of(
        {
            "data": {
                "dataset": str(folder / "train.parquet"),
                "validation": str(folder / "validation.parquet"),
            },
            "representation": {"name": "ircr", "max_sites": 4, "tolerance": 0.5},
            "model": {
                "name": "site_codec",
                "code": 8,
                "width": 8,
                "layers": 1,
                "heads": 1,
                "hidden": 16,
                "blocks": 1,
                "max_sites": 4,
                "n_parents": 8,
            },
            "conditions": {"values": ["energy"]},
            "training": {"epochs": 2, "batch_size": 20, "validate_every": 2},
            "machine": {"device": "cpu"},
        }
    )
    train_generator(config, folder / "run", command=["crystalcodec", "train"])
    salt = Crystals.single(4 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17])
    write(salt, folder / "salt.cif")
    write(Crystals.single(5 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [19, 9]), folder / "kf.cif")
    return folder


def _told(*arguments):
    return CliRunner().invoke(app, ["latent", *map(str, arguments)])


def _rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_run_comes_back_with_the_same_codes(trained, made_dataset):
    from crystalcodec.workflow.latent import encode_crystals

    crystals = made_dataset(5, 2).crystals
    one, two = (encode_crystals(open_latent(trained / "run").generator, crystals) for _ in "ab")
    assert np.array_equal(one.codes, two.codes)
    assert one.codes.shape == (5, 8)


def test_map(trained, tmp_path):
    out = tmp_path / "map.png"
    found = _told(
        "map", trained / "run", trained / "train.parquet", "--colour", "energy", "-o", out
    )
    assert found.exit_code == 0, found.output
    assert "40 codes of 8 numbers" in found.output
    assert out.read_bytes()[:4] == b"\x89PNG"
    assert len(_rows(tmp_path / "map.csv")) == 40
    predicted = _told(
        "map",
        trained / "run",
        trained / "train.parquet",
        "--limit",
        9,
        "--colour",
        "predicted_energy",
        "-o",
        out,
    )
    assert predicted.exit_code == 0, predicted.output
    assert len(_rows(tmp_path / "map.csv")) == 9


def test_a_map_does_not_take_the_place_of_what_it_reads(trained, tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text("id,cif\n")
    told = _told("map", trained / "run", table, "-o", tmp_path / "mine.png")
    assert told.exit_code == 2
    assert "which is read" in told.output
    assert table.read_text() == "id,cif\n"


def test_unread_crystals_are_counted(trained, tmp_path):
    for i in range(5):
        (tmp_path / f"bad{i}.cif").write_text("data_x\n")
    read = (trained / "train.parquet", tmp_path)
    told = _told("graph", trained / "run", *read, "-o", tmp_path / "g.json")
    assert told.exit_code == 0, told.output
    assert "not read, of 45 records: 5 " in told.output


def test_interpolate(trained, tmp_path):
    found = _told(
        "interpolate",
        trained / "run",
        trained / "salt.cif",
        trained / "kf.cif",
        "--steps",
        4,
        "--way",
        "spherical",
        "-o",
        tmp_path / "way",
    )
    assert found.exit_code == 0, found.output
    rows = _rows(tmp_path / "way" / "steps.csv")
    assert [float(row["part"]) for row in rows] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    decoded = sum(not row["failure"] for row in rows)
    assert f"{decoded} of 4 decoded" in found.output
    assert len(list((tmp_path / "way").glob("cifs/*.cif"))) == decoded
    assert (tmp_path / "way" / "strip.png").exists()


def test_a_way_of_which_nothing_decodes(trained, tmp_path, monkeypatch):
    from crystalcodec.generators.site_codec import SiteCodec

    whole = SiteCodec.decode
    monkeypatch.setattr(
        SiteCodec,
        "decode",
        lambda self, codes, batch=None: {k: v * np.nan for k, v in whole(self, codes).items()},
    )
    ends = (trained / "salt.cif", trained / "kf.cif")
    found = _told("interpolate", trained / "run", *ends, "-n", 2, "-o", tmp_path / "way")
    assert found.exit_code == 1
    assert "0 of 2 decoded" in found.output
    assert all(row["failure"] for row in _rows(tmp_path / "way" / "steps.csv"))
    # Crystals of another time would stand among the new ones.
    for arguments in (
        ("interpolate", trained / "run", *ends),
        ("perturb", trained / "run", trained / "train.parquet"),
    ):
        again = _told(*arguments, "-o", tmp_path / "way")
        assert isinstance(again.exception, LatentError)
        assert "holds files (steps.csv" in str(again.exception)
    again = _told("interpolate", trained / "run", *ends, "-o", trained / "salt.cif")
    assert "is a file" in str(again.exception)


def test_perturb(trained, tmp_path):
    found = _told(
        "perturb",
        trained / "run",
        trained / "train.parquet",
        "--where",
        "energy=:0.5",
        "--parents",
        3,
        "--children",
        4,
        "--scale",
        0.5,
        "-o",
        tmp_path / "new",
    )
    assert found.exit_code in (0, 1), found.output
    rows = _rows(tmp_path / "new" / "children.csv")
    assert len(rows) == 12
    assert "children: 12" in found.output
    unique = sum(row["unique"] == "True" for row in rows)
    assert f"unique: {unique}" in found.output
    assert len(list((tmp_path / "new").glob("cifs/*.cif"))) == unique
    assert found.exit_code == (unique == 0)
    assert all(np.isfinite(float(row["predicted_energy"])) for row in rows)


@pytest.mark.parametrize("suffix", ["graphml", "json"])
def test_graph(trained, tmp_path, suffix):
    out = tmp_path / f"graph.{suffix}"
    found = _told(
        "graph",
        trained / "run",
        trained / "train.parquet",
        "-k",
        3,
        "--where",
        "energy=:0.5",
        "-o",
        out,
    )
    assert found.exit_code == 0, found.output
    assert "40 nodes" in found.output
    assert "parents" in found.output
    assert "parent" in out.read_text()
    assert (tmp_path / "graph.png").exists()


def test_bad_input(trained, tmp_path, run):
    with pytest.raises(RunError, match="predictor"):
        open_latent(run.folder)
    for arguments, said in (
        (("map", trained / "run", trained / "train.parquet", "-o", tmp_path / "map.txt"), ".png"),
    ):
        found = _told(*arguments)
        assert found.exit_code == 2
        assert said in found.output
    for arguments, said in (
        (("graph", trained / "run", trained / "train.parquet", "-o", "graph.txt"), "graphml"),
        (
            (
                "perturb",
                trained / "run",
                trained / "train.parquet",
                "--where",
                "energy=100:",
                "-o",
                tmp_path / "none",
            ),
            "none of 40 crystals is in the windows",
        ),
        (
            (
                "perturb",
                trained / "run",
                trained / "train.parquet",
                "--where",
                "enegy=0:1",
                "-o",
                tmp_path / "none",
            ),
            "did you mean 'energy'",
        ),
        (
            (
                "perturb",
                trained / "run",
                trained / "train.parquet",
                "--scale",
                "-1",
                "-o",
                tmp_path / "none",
            ),
            "scale is -1",
        ),
    ):
        found = _told(*arguments)
        assert isinstance(found.exception, LatentError)
        assert said in str(found.exception)
    assert not (tmp_path / "none").exists()
