"""Judging pictures: files and failures are counted, figures are right, nothing is done twice."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
from scipy.stats import ks_2samp
from typer.testing import CliRunner

from crystalcodec import prototypes
from crystalcodec.cli import app
from crystalcodec.data.slice_dataset import SliceOptions, build_slice_dataset
from crystalcodec.evaluation.base import EvaluationError
from crystalcodec.evaluation.pictures import (
    frechet_distance,
    log_spectra,
    measure_pictures,
    principal_features,
)
from crystalcodec.io import write
from crystalcodec.io.png import write_png
from crystalcodec.models import picture_features
from crystalcodec.models.base import ModelError
from crystalcodec.models.picture_features import reduced_pictures
from crystalcodec.registry import REPRESENTATIONS, load
from crystalcodec.representations.npy_files import StorageError
from crystalcodec.representations.slices.drawing import SliceStyle
from crystalcodec.representations.storage import save_encoded
from crystalcodec.workflow import judge_picture_rows
from crystalcodec.workflow.encoding import encode_files
from crystalcodec.workflow.judge_picture_inputs import are_pictures, read_pictures
from crystalcodec.workflow.judge_pictures import judge_pictures

pytestmark = pytest.mark.pictures

pytest.importorskip("skimage")

ROWS, COLUMNS = np.mgrid[:32, :32]
# Middles of atoms that stand apart and away from the rim.
PLACES = [(6, 6), (6, 16), (6, 26), (16, 6), (16, 16), (16, 26), (26, 6), (26, 16), (26, 26)]


def atoms(n, shift=0.0):
    """A picture of n atoms, 8 bits."""
    picture = np.zeros((32, 32))
    for y, x in PLACES[:n]:
        picture += np.exp(-((ROWS - y - shift) ** 2 + (COLUMNS - x) ** 2) / (2 * 1.5**2))
    return np.rint(200 * picture).astype(np.uint8)


def written(folder, pictures):
    for i, picture in enumerate(pictures):
        write_png(folder / f"{i:03d}.png", picture)
    return folder


REAL = [atoms(1 + i % 6, 0.3 * (i // 6) / 4) for i in range(24)]
MADE = [atoms(4 + i % 3, 0.25) for i in range(12)]


@pytest.fixture(autouse=True)
def _short_training(monkeypatch):
    monkeypatch.setattr(judge_picture_rows, "_EPOCHS", (2, 3))


@pytest.fixture
def real(tmp_path):
    return written(tmp_path / "real", REAL)


@pytest.fixture
def made(tmp_path):
    return written(tmp_path / "made", MADE)


def judged(made, real, **more):
    reference = read_pictures([real])
    return judge_pictures(read_pictures([made], like=reference), reference, **more)


def command(*arguments):
    return CliRunner().invoke(app, ["judge", *map(str, arguments)])


# What is read


def test_what_is_no_picture_is_an_attempt_that_failed(made, real):
    (made / "cut.png").write_bytes((made / "000.png").read_bytes()[:60])
    write_png(made / "large.png", np.zeros((40, 32), np.uint8))
    write_png(made / "red.png", np.dstack([atoms(2), atoms(0), atoms(0)]))
    write_png(made / "seen_through.png", np.dstack([atoms(2)] * 4))
    like = read_pictures([real])
    given = read_pictures([made], like=like, n=20)
    assert given.n == 20
    assert given.values.shape == (12, 32, 32, 1)
    assert given.positions.tolist() == list(range(12))
    assert given.reasons() == {
        "unreadable PNG": 1,
        "another size": 1,
        "another number of channels": 2,
        "no picture was given": 4,
    }
    assert {failure.index: given.ids[failure.index] for failure in given.failures[:2]} == {
        12: "cut.png",
        13: "large.png",
    }
    assert "40 x 32 pixels, wanted 32 x 32" in given.failures[1].detail
    found = judge_pictures(given, like, features="none")
    for figure in found.all():
        assert figure.n == 20
        assert dict(figure.failures) == given.reasons()
    with pytest.raises(EvaluationError, match="15 attempts, but there are 16"):
        read_pictures([made], n=15)


def test_grey_stored_in_colour_is_grey(tmp_path, made, real):
    opaque = np.full((32, 32), 255, np.uint8)
    written(tmp_path / "rgb", [np.dstack([one] * 3) for one in MADE])
    written(tmp_path / "rgba", [np.dstack([*[one] * 3, opaque]) for one in MADE])
    like = read_pictures([real])
    plain = read_pictures([made], like=like)
    for kind in ("rgb", "rgba"):
        np.testing.assert_array_equal(
            read_pictures([tmp_path / kind], like=like).values, plain.values
        )
    assert read_pictures([tmp_path / "rgb"]).shape == (32, 32, 1)


def test_one_colour_picture_makes_the_reference_coloured(tmp_path, made):
    grey = [np.dstack([one] * 3) for one in REAL]
    like = read_pictures(
        [written(tmp_path / "c", [*grey, grey[0] * np.array([1, 0, 1], np.uint8)])]
    )
    assert like.shape == (32, 32, 3)
    given = read_pictures([made], like=like)
    np.testing.assert_array_equal(given.values[0], np.dstack([MADE[0]] * 3))
    found = judge_pictures(given, like, features="none")
    assert "show no atoms" in found.left_out["atom counts"]


def test_the_size_that_most_have_is_wanted(tmp_path):
    folder = written(tmp_path / "r", [*REAL[:3], np.zeros((9, 9), np.uint8)])
    like = read_pictures([folder])
    assert like.shape == (32, 32, 1)
    assert like.reasons() == {"another size": 1}
    with pytest.raises(EvaluationError, match="at least 8"):
        read_pictures([written(tmp_path / "small", [np.zeros((4, 9), np.uint8)])])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"nothing")
    with pytest.raises(EvaluationError, match="no reference picture"):
        read_pictures([tmp_path / "bad"])


def test_arrays_of_pictures(tmp_path):
    stack = np.array(REAL)
    kinds = {
        "uint8": stack,
        "uint16": stack.astype(np.uint16) * 257,
        "float": (stack / 255).astype(np.float64),
        "channels": stack[..., None],
        "planes": stack.reshape(6, 4, 32, 32),
    }
    for name, array in kinds.items():
        np.save(tmp_path / f"{name}.npy", array)
        given = read_pictures([tmp_path / f"{name}.npy"])
        values = given.values / 255 if given.values.dtype == np.uint8 else given.values
        np.testing.assert_allclose(values[..., 0], stack / 255, atol=1e-6)
        assert given.ids[:2] == (f"{name}.npy[0]", f"{name}.npy[1]")
    broken = kinds["float"].copy()
    broken[3, 0, 0], broken[5, 1, 1] = np.nan, np.inf
    np.save(tmp_path / "broken.npy", broken)
    given = read_pictures([tmp_path / "broken.npy"])
    assert given.reasons() == {"values that are not finite": 2}
    assert [failure.index for failure in given.failures] == [3, 5]
    for name, array in (("flat", stack[0]), ("whole", stack.astype(int)), ("object", None)):
        np.save(tmp_path / f"{name}.npy", np.array(array), allow_pickle=True)
        with pytest.raises((EvaluationError, StorageError), match=name):
            read_pictures([tmp_path / f"{name}.npy"])


def test_folders_of_slices_keep_their_order_and_failures(tmp_path):
    crystals = prototypes().crystals[:20]
    options = SliceOptions(planes=2, style=SliceStyle(size=32, width=8.0), translates=False)
    reports, given = {}, {}
    for output in ("png", "array"):
        reports[output] = build_slice_dataset(crystals, tmp_path / output, options, output=output)
        given[output] = read_pictures([tmp_path / output])
    report = reports["png"]
    n_failed = sum(report.failures.values())
    assert n_failed > 0
    np.testing.assert_array_equal(given["png"].values, given["array"].values)
    for one in given.values():
        assert one.n == report.n_pictures + n_failed
        assert one.reasons() == report.failures
        assert one.representation == "slices"
        assert f"{n_failed} crystals without a picture" in one.notes[0]
    rows = read_pictures([tmp_path / "png"], recorded=False)
    assert rows.n == report.n_pictures
    missing = next((tmp_path / "png" / "images").rglob("*.png"))
    missing.unlink()
    assert read_pictures([tmp_path / "png"], recorded=False).reasons() == {"unreadable PNG": 1}


@pytest.mark.parametrize(
    ("name", "parameters", "counted", "shape"),
    [
        ("density_slices", {"size": 32, "width": 8.0, "n_planes": 2}, True, (32, 32, 1)),
        ("xtal2png", {}, False, (64, 64, 1)),
        ("crystal_image", {}, False, (64, 64, 3)),
        ("crystens", {}, False, (64, 64, 4)),
    ],
)
def test_encoded_crystals(tmp_path, name, parameters, counted, shape):
    crystals = prototypes().crystals
    crystals = crystals[crystals.n_sites <= 8]
    representation = load(REPRESENTATIONS, name)(**parameters)
    save_encoded(tmp_path / "real", representation, [crystals[:10]])
    save_encoded(tmp_path / "made", representation, [crystals[10:18]])
    assert are_pictures([tmp_path / "made"])
    found = judged(tmp_path / "made", tmp_path / "real", features="none")
    assert found.reference.shape == shape
    assert found.pictures.representation == name
    assert ("atom counts" in found.left_out) != counted
    values = found.reference.values
    assert values.min() >= 0
    assert values.max() <= 1
    told = found.document()["scaling"]
    assert told.startswith("each channel" if name == "crystens" else "as given")
    if name == "density_slices":
        assert found.pictures.n == 16
        pictures = representation.encode(crystals[10:18])[name].reshape(-1, 32, 32, 1)
        np.testing.assert_array_equal(found.pictures.values, pictures)


def test_pictures_that_encode_wrote(tmp_path):
    """A PNG tells its representation; what failed is listed beside the folder."""
    write(prototypes().crystals[:6], tmp_path / "some.extxyz")
    (tmp_path / "bad.cif").write_text("data_none")
    sources = [tmp_path / "some.extxyz", tmp_path / "bad.cif"]
    report = encode_files(sources, load(REPRESENTATIONS, "xtal2png")(), tmp_path / "png")
    given = read_pictures([tmp_path / "png"])
    assert given.representation == "xtal2png"
    assert not given.has_atoms
    assert given.n == 7
    assert len(given.values) == report.n_encoded == 6
    assert len(given.failures) == 1
    encode_files(sources, load(REPRESENTATIONS, "crystens")(), tmp_path / "arrays")
    given = read_pictures([tmp_path / "arrays"])
    assert given.representation == "crystens"
    assert (given.n, len(given.values)) == (7, 6)
    assert read_pictures([tmp_path / "arrays"], recorded=False).n == 6


def test_other_encoded_crystals_are_refused(tmp_path):
    save_encoded(tmp_path / "amd", load(REPRESENTATIONS, "amd")(), [prototypes().crystals[:3]])
    with pytest.raises(EvaluationError, match="holds amd, which is no picture"):
        read_pictures([tmp_path / "amd"])


def test_what_counts_as_pictures(tmp_path, made):
    (made / "about.json").write_text("{}")
    assert are_pictures([made, made / "000.png", "somewhere/*.png"])
    (tmp_path / "cifs").mkdir()
    (tmp_path / "cifs" / "a.cif").write_text("data_a")
    write_png(tmp_path / "cifs" / "a.png", REAL[0])
    assert not are_pictures([tmp_path / "cifs", "generated.parquet"])
    with pytest.raises(EvaluationError, match=r"made holds pictures and .*cifs does not"):
        are_pictures([made, tmp_path / "cifs"])
    assert read_pictures([f"{made}/00*.png"]).n == 10
    with pytest.raises(EvaluationError, match="no such file"):
        read_pictures([tmp_path / "nowhere"])


def test_a_sample_is_told(made, real):
    one, other = (read_pictures([real], max_pictures=7, seed=3) for _ in "12")
    assert one.n == len(one.values) == 7
    assert one.ids == other.ids
    assert one.notes == ("7 of 24 attempts, drawn at random (seed 3)",)
    assert {*one.ids} < {file.name for file in real.iterdir()}
    assert read_pictures([real], max_pictures=24).notes == ()


# What is found


def test_figures_by_hand_and_by_others(made, real):
    found = judged(made, real, features="none", seed=5)
    figure = found.figure("atom_count_ks")
    # Real pictures have 1 to 6 atoms, generated ones 4 to 6: they part behind 3 atoms, at 1/2.
    assert figure.value == pytest.approx(0.5)
    peer = ks_2samp([1 + i % 6 for i in range(24)], [4 + i % 3 for i in range(12)]).statistic
    assert figure.value == pytest.approx(peer)
    assert figure.extra["pictures_by_count"] == {"atoms": [4, 5, 6], "pictures": [4, 4, 4]}
    spectra = [log_spectra(np.array(some)).mean(axis=0) for some in (MADE, REAL)]
    expected = np.sqrt(((spectra[0] - spectra[1]) ** 2).mean())
    assert found.figure("power_spectrum_distance").value == pytest.approx(expected)
    assert found.figure("copies_of_reference").value == 0
    # The function that works on arrays alone gives the same, floors included.
    arrays = {one.name: one.value for one in measure_pictures(MADE, REAL, seed=5)}
    for name in ("atom_count_ks", "power_spectrum_distance"):
        assert found.figure(name).value == pytest.approx(arrays[name])
        floor = found.floor.find(found.figure(name))
        assert floor.value == pytest.approx(arrays[f"{name}_floor"])
    with pytest.raises(KeyError, match="atom_count_ks"):
        found.figure("novelty")


def test_copies_have_no_distance(tmp_path, real):
    found = judged(real, real)
    for name in ("atom_count_ks", "frechet_distance", "power_spectrum_distance"):
        assert found.figure(name).value == pytest.approx(0, abs=1e-6)
    assert found.figure("copies_of_reference").value == 1
    np.save(tmp_path / "some.npy", np.array([*REAL[:5], *MADE[:3]]) / 255)
    assert judged(tmp_path / "some.npy", real, features="none").figure(
        "copies_of_reference"
    ).value == pytest.approx(5 / 8)


def test_features_are_of_a_network_trained_on_the_reference(made, real):
    found = judged(made, real, seed=1)
    figure = found.figure("frechet_distance")
    network = picture_features.train_picture_features(
        np.array(REAL), n_features=64, epochs=3, seed=1
    )
    rows = [network.features(np.array(some)) for some in (MADE, REAL)]
    assert figure.value == pytest.approx(frechet_distance(*rows), rel=1e-3)
    assert "trained on the reference (24 pictures, their crops, 3 epochs, seed 1)" in (
        figure.definition
    )
    assert figure.value == judged(made, real, seed=1).figure("frechet_distance").value
    # Its halves differ less than other pictures do from it.
    again = found.figure("power_spectrum_distance")
    assert found.floor.find(again).value < again.value


def test_features_of_a_network_that_others_trained(tmp_path, made, real, monkeypatch):
    (tmp_path / "weights").mkdir()
    given = []

    def of(place):
        given.append(place)
        return lambda values: np.asarray(values).reshape(len(values), -1)[:, ::10] / 255.0

    monkeypatch.setattr(picture_features, "mobilenet_features", of)
    weights = f"mobilenet={tmp_path / 'weights'}"
    found = judged(made, real, features=weights, folder=tmp_path / "kept").figure(
        "frechet_distance"
    )
    assert given == [str(tmp_path / "weights")]
    assert "MobileNetV2 trained on photographs (ImageNet), its first 23 principal" in (
        found.definition
    )
    rows = [np.array(some).reshape(len(some), -1)[:, ::10] / 255.0 for some in (MADE, REAL)]
    reference, others = principal_features(rows[1], rows[0], n=23)
    assert found.value == pytest.approx(frechet_distance(others, reference), rel=1e-6)


def test_large_pictures_are_reduced_and_it_is_told(tmp_path):
    large = [one.repeat(3, axis=0).repeat(3, axis=1) for one in REAL]
    folder = written(tmp_path / "large", large)
    definition = judged(folder, folder).figure("frechet_distance").definition
    assert "reduced from 96 x 96 to at most 64 pixels a side" in definition


def test_reduced_pictures_are_means():
    pictures = np.random.default_rng(0).random((3, 48, 96, 2))
    blocks = pictures.reshape(3, 16, 3, 32, 3, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(reduced_pictures(pictures, 32), blocks)
    np.testing.assert_array_equal(reduced_pictures(pictures, 96), pictures)
    assert reduced_pictures(np.zeros((1, 8, 640)), 64).shape == (1, 8, 64, 1)
    with pytest.raises(ModelError, match="not finite"):
        reduced_pictures(np.full((1, 80, 80), np.nan))


def test_next_to_nothing(tmp_path, real):
    one = written(tmp_path / "one", REAL[:1])
    found = judged(one, one)
    assert "fewer than four" in found.left_out["Fréchet distance"]
    found.write(tmp_path / "out")
    written(tmp_path / "none", [np.zeros((9, 9), np.uint8)] * 2)
    found = judged(tmp_path / "none", real)
    assert found.figure("copies_of_reference").value == 0
    for name in ("atom_count_ks", "frechet_distance", "power_spectrum_distance"):
        assert np.isnan(found.figure(name).value)
        assert found.figure(name).failures == {"another size": 2}
    found.write(tmp_path / "out")
    assert "–" in found.table()


def test_values_far_beyond_are_cut_off_and_it_is_told(tmp_path, real):
    wild = np.array(MADE) / 255
    wild[2] *= 1e20
    np.save(tmp_path / "wild.npy", wild)
    found = judged(tmp_path / "wild.npy", real)
    assert "1 generated pictures have values cut off" in found.document()["scaling"]
    assert all(np.isfinite(figure.value) for figure in found.all())


# What is kept


def test_nothing_is_done_twice(tmp_path, made, real, monkeypatch):
    first = judged(made, real, folder=tmp_path / "kept")

    def fail(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(picture_features, "train_picture_features", fail)
    monkeypatch.setattr(judge_picture_rows, "count_atoms", fail)
    second = judged(made, real, folder=tmp_path / "kept")
    assert second.table() == first.table()
    with pytest.raises(AssertionError, match="computed again"):
        judged(made, real, folder=tmp_path / "kept", seed=1)  # another network


def test_a_run_that_was_killed_goes_on(tmp_path, made, real, monkeypatch):
    monkeypatch.setattr(judge_picture_rows, "_PART", 8)
    whole = judged(made, real, features="none")
    seen = []
    real_count = judge_picture_rows.count_atoms

    def count(part):
        if len(seen) == 3:
            seen.append(0)
            raise KeyboardInterrupt
        seen.append(len(part))
        return real_count(part)

    monkeypatch.setattr(judge_picture_rows, "count_atoms", count)
    with pytest.raises(KeyboardInterrupt):
        judged(made, real, features="none", folder=tmp_path)
    found = judged(made, real, features="none", folder=tmp_path)
    assert sum(seen) == len(MADE) + len(REAL)  # none counted twice
    assert found.table() == whole.table()


def test_damaged_files_count_as_absent(tmp_path, made, real):
    first = judged(made, real, folder=tmp_path / "kept")
    for file in (tmp_path / "kept").rglob("*.*"):
        file.write_bytes(file.read_bytes()[:40])
    assert judged(made, real, folder=tmp_path / "kept").table() == first.table()


def test_processes_change_nothing(made, real, monkeypatch):
    found = [judged(made, real, features="none", jobs=jobs) for jobs in (1, 2)]
    assert found[0].table() == found[1].table()


# The command


def test_the_command_writes_all(tmp_path, made, real):
    (made / "cut.png").write_bytes(b"\x89PNG")
    out = tmp_path / "out"
    result = command(made, "--against", real, "-o", out, "-j", 1)
    assert result.exit_code == 0, result.output
    assert "real halves" in result.output
    document = json.loads((out / "judge.json").read_text())
    assert document["kind"] == "pictures"
    assert document["attempts"]["n"] == 13
    assert document["attempts"]["n_pictures"] == 12
    assert document["failures"] == {"unreadable PNG": 1}
    assert "decode pictures" in document["left_out"]["validity, novelty, stability, ..."]
    figures = {one["name"]: one for one in document["families"]["pictures"]}
    assert [*figures] == [
        "copies_of_reference",
        "atom_count_ks",
        "frechet_distance",
        "power_spectrum_distance",
    ]
    floors = document["baselines"]["real halves"]["families"]["pictures"]
    assert [one["name"] for one in floors] == [*figures]
    assert floors[1]["n"] == 12
    assert "with the reference as it is" in document["interval"]["definition"]
    assert figures["atom_count_ks"]["low"] <= figures["atom_count_ks"]["high"]
    page = (out / "report.html").read_text()
    for text in ("drawn at random, none chosen", "power spectra", "gave no picture"):
        assert text in page
    assert page.count("data:image/png;base64,") == 4
    assert not re.search(r'(src|href)="(?!data:)', page)
    with (out / "attempts.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 13
    assert rows[4]["id"] == "004.png"
    assert rows[4]["atom_count_ks"] == "5"
    assert rows[12]["reason"] == "unreadable PNG"


def test_the_command_says_what_is_wrong(tmp_path, made, real):
    for arguments, told in [
        ([made], "real pictures to judge"),
        ([made, "--against", "train.parquet"], "real pictures to judge"),
        ([made, "--against", real, "--baselines"], "for crystals"),
        ([made, "--against", real, "--held-out", "val"], "for crystals"),
        (["some.parquet", "--max-pictures", 5], "for pictures"),
        (["some.parquet", "--features", "none"], "for pictures"),
    ]:
        result = command(*arguments, "-o", tmp_path / "out")
        assert result.exit_code == 2
        assert told in " ".join(result.output.replace("│", " ").split())
    for features, error, told in [
        ("inception", EvaluationError, "mobilenet=FOLDER"),
        (f"mobilenet={tmp_path}", ModelError, "MobileNet|config.json|safetensors"),
    ]:
        result = command(made, "--against", real, "--features", features, "-o", tmp_path / "out")
        assert isinstance(result.exception, error)
        with pytest.raises(error, match=told):
            raise result.exception
    assert not (tmp_path / "out").exists()


def test_samples_are_said_aloud(tmp_path, made, real):
    options = ["--features", "none", "--max-pictures", 10, "-j", 1, "-o", tmp_path / "out"]
    result = command(made, "--against", real, *options)
    assert result.exit_code == 0, result.output
    assert "generated: 10 of 12 attempts, drawn at random (seed 0)" in result.stderr
    assert "real: 10 of 24 attempts, drawn at random (seed 0)" in result.stderr
    page = (tmp_path / "out" / "report.html").read_text()
    assert "generated: 10 of 12 attempts, drawn at random (seed 0)" in page
    assert "reference: 10 of 24 attempts" in page
