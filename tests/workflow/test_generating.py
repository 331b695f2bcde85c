"""Generating: every sample of a generator that is known is counted where it belongs."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

import crystalcodec
from crystalcodec.cli import app
from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset
from crystalcodec.evaluation.base import Attempts
from crystalcodec.generators.conditions import ConditionError, Wanted
from crystalcodec.generators.guidance import PredictorGuidance
from crystalcodec.io import read
from crystalcodec.models.base import ModelError
from crystalcodec.relaxation.hull import Hull
from crystalcodec.relaxation.relaxing import relax
from crystalcodec.workflow import RunConfig, RunError, train
from crystalcodec.workflow.generating import generation, predicting
from crystalcodec.workflow.generating.folders import FinishedError, GenerationError
from crystalcodec.workflow.generating.funnel import drop_invalid, validity
from crystalcodec.workflow.generating.generation import generate
from crystalcodec.workflow.generating.planning import told
from crystalcodec.workflow.generating.wishes import make_wanted, met, parse_values
from crystalcodec.workflow.judge_inputs import read_attempts

pytestmark = pytest.mark.pictures

EMT = "ase:ase.calculators.emt:EMT"
B2 = [[0, 0, 0], [0.5, 0.5, 0.5]]


def cubic(a, numbers, coords=B2):
    return Crystals.single(a * np.eye(3), coords, numbers)


# What the generator copies, in turn.
SODIUM_CHLORIDE = cubic(3.4, [11, 17])
CLOSE = cubic(5.0, [19, 35], [[0, 0, 0], [0.06, 0, 0]])  # sites 0.3 Å apart
UNBALANCED = cubic(4.0, [3, 9, 9, 9], [*B2, [0.5, 0, 0], [0, 0.5, 0]])  # LiF3
ALLOY = cubic(3.1, [29, 79])
KNOWN = Crystals.concatenate(
    [
        *(SODIUM_CHLORIDE, SODIUM_CHLORIDE, cubic(3.0, [3, 9]), cubic(3.9, [19, 35])),
        *(CLOSE, UNBALANCED, cubic(4.2, [22, 8, 8], [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5]])),
        ALLOY,
    ]
)
TRAIN = Crystals.concatenate([cubic(3.9, [19, 35]), cubic(4.0, [55, 17])])


@pytest.fixture
def model(generator_values, tmp_path, monkeypatch):
    """The folder of a run whose samples are the known crystals, in turn."""
    from crystalcodec.workflow.generating import training

    monkeypatch.setattr(training, "write_sample_picture", lambda *given: None)
    for name in ("train", "validation"):
        Dataset.from_crystals(KNOWN, properties={"gap": np.arange(8.0)}, units={"gap": "eV"}).write(
            tmp_path / f"{name}.parquet"
        )
    generator_values["representation"]["tolerance"] = 0.5
    generator_values["training"]["epochs"] = 1
    generator_values["conditions"] = {"values": ["gap"], "crystal": ["space_group"]}
    train(RunConfig.of(generator_values), tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def no_drawing(monkeypatch):
    """Reports without pictures of crystals, where these are not what is tested."""
    from crystalcodec.plots import samples
    from crystalcodec.workflow.generating import report

    monkeypatch.setattr(report, "crystal_png", lambda crystal: None)
    monkeypatch.setattr(samples, "crystal_png", lambda crystal: None)


def command(*arguments):
    """The result of the command; a message of ours is its exception."""
    return CliRunner().invoke(app, ["generate", *map(str, arguments), "-j", "1"])


def test_every_sample_is_counted(model):
    """Of each eight: one broken, one with close sites, one unbalanced, and the second NaCl."""
    made = generate(16, model=model, batch_size=8, broken=1, against=TRAIN)
    assert made.funnel.stages == (
        ("sampled", 16),
        ("decoded", 14),
        ("valid structure", 12),
        ("valid", 10),
        ("unique", 5),
        ("novel", 4),
    )
    assert [(one.index, one.reason) for one in made.failures] == [
        (0, "not finite"),
        (8, "not finite"),
    ]
    assert made.crystals.formulas == KNOWN.formulas[1:] * 2
    assert made.attempts.positions.tolist() == [*range(1, 8), *range(9, 16)]
    assert made.funnel.not_measured.keys() == {"metastable"}
    flags = made.funnel.flags
    assert np.flatnonzero(flags["valid"]).tolist() == [1, 2, 3, 6, 7, 9, 10, 11, 14, 15]
    assert np.flatnonzero(flags["unique"]).tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert np.flatnonzero(~flags["novel"]).tolist() == [0, 3, 8, 11]
    record = made.record
    assert record["stages"]["novel"] == 4
    assert record["failures"] == {"decode": {"not finite": 2}}
    assert record["settings"] == {"broken": 1, "blur": 0.0}
    assert record["model"]["hash"] == made.run.record["files"]["model.safetensors"]
    assert set(record["seconds"]) >= {"sampling", "decoding", "funnel"}


def test_the_same_request_gives_the_same_crystals(model):
    one, other = (generate(9, model=model, blur=0.01, seed=3) for _ in range(2))
    assert one.crystals == other.crystals
    assert one.record["identity"] == other.record["identity"]
    assert generate(9, model=model, blur=0.01, seed=4).crystals != one.crystals


def test_validity_is_that_of_the_judge():
    from crystalcodec.evaluation.base import Evidence
    from crystalcodec.evaluation.validity import measure

    structural, compositional = validity(KNOWN)
    figures = {one.name: one for one in measure(Evidence(Attempts.of(KNOWN)))}
    assert (structural == (figures["structural_validity"].of_each == 1)).all()
    assert (compositional == (figures["composition_validity"].of_each == 1)).all()
    assert np.flatnonzero(~structural).tolist() == [4]
    assert np.flatnonzero(~compositional).tolist() == [5]


def test_what_is_dropped_is_a_failure_with_its_reason(model):
    made = generate(8, model=model, drop_invalid=True)
    assert [(one.index, one.reason) for one in made.failures] == [
        (4, "structure not valid"),
        (5, "composition not valid"),
    ]
    assert "0.300 Å apart" in made.failures[0].detail
    assert made.failures[1].detail == "LiF3"
    assert made.record["failures"]["drop"] == {"structure not valid": 1, "composition not valid": 1}
    assert dict(made.funnel.stages)["decoded"] == 8
    assert dict(made.funnel.stages)["valid"] == len(made.crystals) == 6
    # Dropping changes what is left, not what is counted.
    assert made.funnel.stages == generate(8, model=model).funnel.stages
    assert dict(made.funnel.stages)["valid structure"] == 7
    assert made.record["n_crystals"] == 6
    assert drop_invalid(made.attempts) is made.attempts
    assert drop_invalid(Attempts.of(Crystals.empty())).n == 0


def test_cleaning_is_a_stage_of_its_own(model):
    made = generate(8, model=model, clean=["merge=0.5", "niggli"])
    assert dict(made.funnel.stages)["cleaned"] == 8
    assert [one["step"] for one in made.record["cleaning"]] == ["merge=0.5", "niggli"]
    assert made.record["cleaning"][0]["n_changed"] == 0  # K and Br are two elements
    assert generate(8, model=model).record["cleaning"] == []


@pytest.mark.parametrize(
    ("wish", "positions"),
    [
        ({"formula": "NaCl"}, [0, 1]),
        ({"formula": "Na2Cl2"}, []),
        ({"formula": "KBr"}, [3, 4]),
        ({"elements": "O,Ti"}, [6]),
        ({"elements": ["Li"]}, []),
        ({"elements": ["Li", "F"]}, [2, 5]),
        ({"space_group": 221}, [0, 1, 2, 3, 7]),
    ],
)
def test_which_samples_are_as_wished(wish, positions):
    attempts = Attempts.of(KNOWN)
    (hits,) = met(attempts, make_wanted(**wish)).values()
    assert np.flatnonzero(hits).tolist() == positions
    doubled = Attempts.of(KNOWN.supercell((2, 1, 1)))
    if "formula" in wish and wish["formula"] != "Na2Cl2":
        assert np.flatnonzero(*met(doubled, make_wanted(**wish)).values()).tolist() == positions


def test_several_wishes_count_alone_and_together(model):
    made = generate(8, model=model, formula="KBr", space_group=221)
    assert made.record["met"] == {"formula": 2, "space_group": 5, "all": 1}
    assert made.record["wanted"] == {"formula": "KBr", "space_group": 221}
    assert generate(8, model=model).record["met"] == {}
    assert met(Attempts.of(Crystals.empty()), Wanted("TiO2"))["formula"].tolist() == []


def test_values_as_they_are_given():
    assert parse_values(["band_gap=1.5,density = 3", "x=-1e-3"]) == {
        "band_gap": 1.5,
        "density": 3.0,
        "x": -0.001,
    }
    for wrong in ("band_gap", "=1", "band_gap=high", "band_gap=inf", "a=1,a=2", ""):
        with pytest.raises(ConditionError, match="wanted"):
            parse_values([wrong])


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"formula": "Xx2"}, "formula 'Xx2'"),
        ({"formula": " "}, "empty formula"),
        ({"formula": "Ca3Al2Si3O12"}, r"cannot fit ircr.*20 sites, at most 4 fit \(max_sites\)"),
        ({"formula": "LiNaKF"}, "4 elements, at most 3 fit"),
        ({"formula": "Ti9999O2"}, "10,001 atoms, more than any"),
        ({"elements": "Li,Na,K,F"}, "elements Li,Na,K,F cannot fit"),
        ({"elements": "Pu,Cm"}, "atomic numbers up to 94"),
        ({"elements": "Li,Zz"}, "no element 'Zz'"),
        ({"elements": " ,"}, "no elements in ' ,'"),
        ({"elements": ""}, "no elements in ''"),
        ({"space_group": 500}, "wanted 1 to 230"),
        ({"where": {"density": 1}}, "not trained with a condition on 'density'"),
        ({"where": {"gap": "high"}}, "wanted a number"),
        ({"where": {"gap": 100}}, r"gap = 100 is outside of the training data, 0 to 7 eV.*force"),
    ],
)
def test_wishes_that_cannot_be(model, wish, said):
    with pytest.raises(ConditionError, match=said):
        generate(4, model=model, **wish)


def test_a_far_target_is_warned_of_or_forced(model):
    said = []
    made = generate(4, model=model, where={"gap": 8.0}, say=said.append)
    assert re.match(r"warning: gap = 8 is outside .* 0 to 7 eV \(mean 3.5", said[0])
    assert made.record["warnings"] == [said[0].removeprefix("warning: ")]
    generate(4, model=model, where={"gap": 100.0}, force_far=True, say=said.append)
    assert "gap = 100" in said[1]
    generate(4, model=model, elements="Li,Cl", say=said.append)
    assert len(said) == 2
    generate(4, model=model, formula="MgO", say=said.append)
    assert "no training crystal holds Mg" in said[2]


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"n": 0}, GenerationError, "n is 0"),
        ({"n": 2.5}, GenerationError, "n is 2.5"),
        ({"seed": -1}, GenerationError, "seed is -1"),
        ({"batch_size": 0}, GenerationError, "batch_size is 0"),
        ({"device": "tpu"}, GenerationError, "wanted auto, cpu or cuda"),
        ({"representation": "unimat"}, GenerationError, "makes ircr, and unimat is wanted"),
        ({"brokn": 1}, ModelError, "did you mean 'broken'"),
        ({"broken": "all"}, ModelError, "wanted such as 0"),
        ({"blur": float("nan")}, ModelError, "blur of generator .* is nan: wanted such as 0.0"),
        ({"clean": ["polish"]}, ValueError, "no cleaning step 'polish'"),
        ({"hull": object()}, GenerationError, "a hull needs energies"),
        ({"relax": True, "potential": "none"}, ValueError, "no 'none' here"),
        ({"model": "nowhere"}, RunError, "no folder nowhere"),
    ],
)
def test_options_that_make_no_sense(model, tmp_path, options, kind, said):
    with pytest.raises(kind, match=said):
        generate(**{"n": 3, "model": model, "folder": tmp_path / "out", **options})
    assert not (tmp_path / "out").exists()


def test_a_representation_that_tells_no_crystals(copier, generator_values, tmp_path, monkeypatch):
    from crystalcodec.workflow.generating import training

    monkeypatch.setattr(training, "write_sample_picture", lambda *given: None)
    generator_values["representation"] = {"name": "composition"}
    generator_values["training"]["epochs"] = 1
    train(RunConfig.of(generator_values), tmp_path / "run")
    with pytest.raises(GenerationError, match="composition, whose arrays do not tell a crystal"):
        generate(3, model=tmp_path / "run")


def test_files(model, tmp_path):
    """The dataset and the CIFs are the crystals; what failed counts for the judge."""
    given = {"broken": 1, "batch_size": 8, "space_group": 221}
    made = generate(16, model=model, against=TRAIN, folder=tmp_path / "out", **given)
    out = tmp_path / "out"
    dataset = Dataset.read(out / "generated.parquet", verify=True)
    assert dataset.crystals == made.crystals
    assert dataset.ids[0] == "sample-00001"
    assert dataset.column("sample").tolist() == made.attempts.positions.tolist()
    for name in ("valid_structure", "valid", "unique", "novel", "space_group_met"):
        assert dataset.column(name).dtype == bool
    assert dataset.column("unique").sum() == 7
    notes = dataset.metadata.notes["generated"]
    assert notes["wanted"] == {"space_group": 221}
    assert notes["model"]["hash"] == made.record["model"]["hash"]
    assert (notes["seed"], notes["n"]) == (0, 16)
    assert dataset.metadata.failures == {"not finite": 2}
    judged = read_attempts([out / "generated.parquet"])
    assert judged.attempts.n == 16
    assert judged.attempts.reasons() == {"not finite": 2}
    # Of the folder, each crystal once, though it is in a CIF, too.
    whole = read_attempts([out]).attempts
    assert (whole.n, len(whole.crystals)) == (16, 14)
    with (out / "generated.parquet.failures.csv").open() as file:
        assert [(row["index"], row["reason"]) for row in csv.DictReader(file)] == [
            ("0", "not finite"),
            ("8", "not finite"),
        ]
    cifs = read(out / "cifs", min_distance=0)
    assert sorted(cifs.ids) == [*dataset.ids]
    assert sorted(cifs.crystals.formulas) == sorted(made.crystals.formulas)
    record = json.loads((out / "generated.json").read_text())
    assert record["status"] == "finished"
    assert record["stages"] == dict(made.funnel.stages)
    page = (out / "report.html").read_text()
    assert page.index("<img") < page.index("Not measured") < page.index("What was lost")
    assert (out / "figures" / "funnel.png").read_bytes()[:4] == b"\x89PNG"
    assert page.count("data:image/png") == 2 + 14
    assert not (out / "judged").exists()


@pytest.mark.usefixtures("no_drawing")
def test_a_folder_is_that_of_one_request(model, tmp_path):
    out = tmp_path / "out"
    made = generate(4, model=model, folder=out)
    with pytest.raises(FinishedError, match="finished: nothing to do"):
        generate(4, model=model, folder=out)
    with pytest.raises(GenerationError, match=r"other generated crystals \(seed 0 there\)"):
        generate(4, model=model, folder=out, seed=1)
    with pytest.raises(FinishedError):
        made.write(out)
    made.write(tmp_path / "again")
    one, other = (tmp_path / name / "generated.parquet" for name in ("out", "again"))
    assert Dataset.read(one) == Dataset.read(other)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(GenerationError, match=r"other files \(mine.txt\)"):
        generate(4, model=model, folder=tmp_path / "full")
    with pytest.raises(GenerationError, match="is a file"):
        generate(4, model=model, folder=tmp_path / "full" / "mine.txt")


def test_what_sampling_refuses_leaves_no_folder(model, tmp_path, copier, monkeypatch):
    def refuse(*given, **more):
        raise ModelError("0 steps: wanted at least 2")

    monkeypatch.setattr(copier, "sample", refuse)
    (tmp_path / "there").mkdir()
    for name in ("there", "new"):
        with pytest.raises(ModelError, match="0 steps"):
            generate(4, model=model, folder=tmp_path / name)
        assert not (tmp_path / name).exists()


@pytest.mark.usefixtures("no_drawing")
def test_an_interrupted_request_goes_on(model, tmp_path, monkeypatch):
    def stop(*given, **more):
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(generation, "measure_funnel", stop)
        result = command("-m", model, "-n", 4, "-o", out)
    assert result.exit_code == 130
    assert f"the same command goes on in {out}" in result.stderr
    assert json.loads((out / "generated.json").read_text())["status"] == "generating"
    # Nothing but its record is there, so that another request may have the folder.
    result = command("-m", model, "-n", 5, "-o", out)
    assert result.exit_code == 0
    assert len(Dataset.read(out / "generated.parquet")) == 5


@pytest.mark.usefixtures("no_drawing")
def test_zero_survivors(model, tmp_path):
    out = tmp_path / "out"
    given = ("-m", model, "-n", 6, "-o", out, "--set", "broken=250")
    result = command(
        *given, "--clean", "merge,niggli", "--drop-invalid", "--judge", "--no-baselines"
    )
    assert result.exit_code == 1
    assert "6  decode: not finite" in result.stderr
    assert "no crystal is left" in result.stderr
    assert len(Dataset.read(out / "generated.parquet")) == 0
    assert read_attempts([out / "generated.parquet"]).attempts.n == 6
    record = json.loads((out / "generated.json").read_text())
    assert record["stages"]["decoded"] == record["stages"]["unique"] == 0
    assert "No crystal is left" in (out / "report.html").read_text()
    judged = json.loads((out / "judged" / "judge.json").read_text())
    assert judged["attempts"]["n"] == 6
    again = command(
        *given, "--clean", "merge,niggli", "--drop-invalid", "--judge", "--no-baselines"
    )
    assert again.exit_code == 1
    assert "of which no crystal is left" in again.stderr


@pytest.mark.usefixtures("no_drawing")
def test_the_command(model, tmp_path):
    Dataset.from_crystals(TRAIN).write(tmp_path / "known.parquet")
    out = tmp_path / "out"
    given = ("-m", model, "-n", 8, "-o", out, "--space-group", 221, "--where", "gap=1.5")
    result = command(*given, "--against", tmp_path / "known.parquet", "--clean", "niggli")
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["unique", "5", "62.5", "%"] in rows
    assert ["novel", "4", "50.0", "%"] in rows
    assert ["space", "group", "as", "wished", "5", "62.5", "%"] in rows
    assert f"8 crystals in {out / 'generated.parquet'}" in result.stdout
    assert "clean niggli: 0 of 8 changed" in result.stderr
    assert "metastable: not measured, the crystals were not relaxed" in result.stderr
    again = command(*given, "--against", tmp_path / "known.parquet", "--clean", "niggli")
    assert again.exit_code == 0
    assert "nothing to do" in again.stderr
    for wrong, said in (
        (["-n", 0], "n is 0"),
        (["--formula", "Xx"], "formula 'Xx'"),
        (["--guidance", 2], "no setting 'guidance'"),
        (["--steps", 3], "no setting 'steps'"),
        (["--model", tmp_path], "no run folder"),
        (["--hull", "elements"], "a hull needs energies"),
        (["--clean", "niggli,"], "no cleaning step ''"),
    ):
        result = command("-m", model, "-o", tmp_path / "other", *wrong)
        assert isinstance(result.exception, ValueError)
        assert said in str(result.exception)
        assert type(result.exception).__module__.startswith("crystalcodec")
    assert command("-m", model, "-o", tmp_path / "other", "--set", "broken").exit_code == 2
    assert not (tmp_path / "other").exists()


def hull_of(crystals):
    """One in which each of these is exactly on the hull, and their elements are far above."""
    relaxed = relax(crystals, EMT)
    elements = Crystals.concatenate([cubic(4.0, [z], [[0, 0, 0]]) for z in (29, 79)])
    energies = np.concatenate([relaxed.energies, [5.0, 5.0]])
    return Hull.of(Crystals.concatenate([crystals, elements]), energies, relaxed.potential)


@pytest.mark.usefixtures("no_drawing")
def test_relaxed_held_against_a_hull_and_judged(model, tmp_path):
    """EMT knows copper and gold; the others are failures of relaxation, and still crystals."""
    out = tmp_path / "out"
    given = {"model": model, "relax": True, "hull": hull_of(ALLOY), "against": TRAIN}
    made = generate(8, **given, judge=True, baselines=False, folder=out)
    assert made.record["relaxed"]["potential"] == EMT
    assert made.record["relaxed"]["n"] == 8
    assert made.record["relaxed"]["n_with_energy"] == len(made.relaxed.positions)
    assert made.relaxed.positions.tolist()[-1] == 7
    assert sum(made.record["failures"]["relax"].values()) == 8 - len(made.relaxed.positions)
    assert made.funnel.stages[-2:] == (("novel", 4), ("metastable", 1))
    assert np.flatnonzero(made.funnel.flags["metastable"]).tolist() == [7]
    assert made.funnel.energies[7] == pytest.approx(0, abs=1e-4)
    assert len(made.crystals) == 8
    dataset = Dataset.read(out / "generated.parquet")
    assert dataset.metadata.units["energy_above_hull"] == "eV/atom"
    assert np.isfinite(dataset.numeric("energy_above_hull")).sum() == 1
    relaxed = read(out / "cifs_relaxed")
    assert "CuAu" in relaxed.crystals.formulas
    judged = json.loads((out / "judged" / "judge.json").read_text())
    figures = {one["name"]: one["value"] for own in judged["families"].values() for one in own}
    assert figures["metastable"] == 1 / 8
    assert figures["validity"] == 6 / 8
    assert 'href="judged/report.html"' in (out / "report.html").read_text()
    # In memory the same comes out.
    again = generate(8, **given)
    assert again.funnel.stages == made.funnel.stages
    assert again.judgement is None


def test_predictions_with_the_wish_and_without(model, monkeypatch):
    """Called gap here, of a predictor that tells the volume of the cell."""
    monkeypatch.setattr(predicting, "PRETRAINED", {"gap": "somewhere"})
    monkeypatch.setattr(
        predicting, "property_rows", lambda crystals, names: crystals.volumes[:, None]
    )
    made = generate(8, model=model, where={"gap": 1.5}, predict=True)
    told = made.record["predicted"]["properties"]["gap"]
    volumes = made.crystals.volumes
    assert told["with"] == {"mean": volumes.mean(), "deviation": volumes.std(), "n": 8}
    assert told["without"] == told["with"]
    assert told["moved"] == 0
    assert told["training"] == {"mean": 3.5, "deviation": pytest.approx(np.arange(8).std())}
    assert "own models" in made.record["predicted"]["note"]
    monkeypatch.setattr(predicting, "PRETRAINED", {})
    left = generate(4, model=model, where={"gap": 1.5}, predict=True).record["predicted"]
    assert left == {"left_out": {"gap": "the package predicts no such property"}}


def test_a_setting_that_is_an_object_is_told_by_its_numbers():
    guide = PredictorGuidance(lambda arrays: arrays["ircr"], 1.5, 0.1)
    settings = {"steps": 3, "guides": [guide], "sampler": "dpm", "none": None}
    assert json.loads(json.dumps(told(settings))) == {
        "steps": 3,
        "guides": [{"kind": "PredictorGuidance", "value": 1.5, "tolerance": 0.1, "strength": 1.0}],
        "sampler": "dpm",
        "none": None,
    }


def test_the_public_name_is_this_one():
    assert crystalcodec.generate is generate
