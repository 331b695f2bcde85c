"""Training of generators: the same bits again, the same random numbers, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from typer.testing import CliRunner

from crystalcodec.cli import app
from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset
from crystalcodec.generators.conditions import ConditionError, Conditions, Wanted
from crystalcodec.models.base import ModelError
from crystalcodec.representations.ircr import IRCR
from crystalcodec.workflow import ConfigError, RunConfig, RunError, train
from crystalcodec.workflow.comparison import compare
from crystalcodec.workflow.config import TrainingConfig, merge
from crystalcodec.workflow.generating import pictures, sources
from crystalcodec.workflow.generating.runs import find_generator, open_generator
from crystalcodec.workflow.generating.sampling import iter_samples, sample_arrays
from crystalcodec.workflow.generating.sources import ArraySource, CrystalArrays
from crystalcodec.workflow.pretrained import predict
from crystalcodec.workflow.runs import CHECKPOINT, MODEL, RECORD, open_run
from crystalcodec.workflow.training import train_seeds

pytestmark = pytest.mark.pictures

CPU = torch.device("cpu")


def config(values, **changes):
    return RunConfig.of(merge(values, changes))


def weights(folder):
    return (folder / MODEL).read_bytes()


@pytest.fixture
def no_pictures(monkeypatch):
    """Training without its pictures, where they are not what is tested."""
    from crystalcodec.workflow.generating import training

    monkeypatch.setattr(training, "write_sample_picture", lambda *given: None)


def test_a_run_holds_what_it_was_trained_with(generator_values, tmp_path):
    generator_values["conditions"] = {"values": ["energy"], "crystal": ["elements"]}
    generator_values["training"]["validate_every"] = 3
    said = []
    run = train(config(generator_values), tmp_path / "run", say=said.append)
    assert said == []
    record = json.loads((run.folder / RECORD).read_text())
    assert record["status"] == "finished"
    assert record["model"] == {"name": "copier", "width": 4}
    assert record["data"]["train"]["n_used"] == 200
    used = ["Li", "O", "F", "Na", "Mg", "S", "Cl", "K", "Ca", "Br"]
    assert record["data"]["train"]["elements"] == used
    assert run.conditions.names == ("elements", "energy")
    assert run.conditions.entries[1].unit == "eV"
    history = json.loads((run.folder / "history.json").read_text())
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert history[-1]["loss"] < history[0]["loss"]
    assert [key for key in history[-1] if key.startswith("validation")] == ["validation_loss"]
    assert not (run.folder / CHECKPOINT).exists()
    # A picture a validation, and the curve: files that are pictures.
    files = [*(run.folder / "samples").iterdir(), run.folder / "learning_curve.png"]
    assert files[0].name == "epoch-00003.png"
    assert len(files) == 2
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in files)
    # Seen again, nothing is done.
    again = train(config(generator_values), tmp_path / "run", say=said.append)
    assert "nothing to do" in said[-1]
    for name, tensor in run.generator.state_dict().items():
        torch.testing.assert_close(again.generator.state_dict()[name], tensor, rtol=0, atol=0)


@pytest.mark.usefixtures("no_pictures")
def test_interrupted_and_resumed_is_the_same_bit_for_bit(generator_values, tmp_path, monkeypatch):
    from crystalcodec.workflow import loop

    settings = config(
        generator_values,
        conditions={"values": ["energy"]},
        augmentation={"names": ["permute_sites", "shift_origin@0.5"]},
        machine={"checkpoint_seconds": 0.0},
    )
    whole = train(settings, tmp_path / "whole")
    take_step = loop.Loop._take_step

    def interrupted(self, *given):
        take_step(self, *given)
        if self._step == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "_take_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(settings, tmp_path / "run")
    assert (tmp_path / "run" / CHECKPOINT).exists()
    with pytest.raises(RunError, match="not finished"):
        open_generator(tmp_path / "run")
    said = []
    resumed = train(settings, tmp_path / "run", say=said.append)
    assert "going on" in said[0]
    assert weights(resumed.folder) == weights(whole.folder)
    losses = [
        [(row["loss"], row["validation_loss"]) for row in json.loads(path.read_text())]
        for path in (run.folder / "history.json" for run in (whole, resumed))
    ]
    assert losses[0] == losses[1]


def test_looking_at_validation_changes_nothing(generator_values, tmp_path, monkeypatch):
    """Neither its random numbers nor the samples of a picture are those of training."""
    drawn = []

    def draw(representation, arrays, crystals, reasons, title):
        drawn.append(arrays)
        torch.rand(1)  # as a generator might that does not keep to its own numbers
        return Figure(figsize=(1, 1))

    monkeypatch.setattr(pictures, "draw_samples", draw)
    one = train(config(generator_values), tmp_path / "every")
    other = train(config(generator_values, training={"validate_every": 3}), tmp_path / "last")
    assert weights(one.folder) == weights(other.folder)
    assert len([*(one.folder / "samples").iterdir()]) == 3
    assert len([*(other.folder / "samples").iterdir()]) == 1
    assert len(drawn) == 4
    assert np.array_equal(drawn[0]["ircr"], drawn[1]["ircr"])


@pytest.mark.usefixtures("no_pictures")
def test_validation_is_measured_with_the_same_random_numbers(generator_values, tmp_path):
    """With a learning rate that moves nothing the noisy loss is the same number each epoch."""
    still = {"learning_rate": 1e-30, "weight_decay": 0.0, "average": 0.0}
    run = train(config(generator_values, training=still), tmp_path / "run")
    history = json.loads((run.folder / "history.json").read_text())
    assert len({row["validation_loss"] for row in history}) == 1
    assert len({row["loss"] for row in history}) == 3


@pytest.mark.parametrize(
    ("epochs", "every", "n"), [(3, 1, 3), (500, 1, 20), (500, 7, 20), (1, 1, 1)]
)
def test_a_long_training_has_few_pictures(epochs, every, n):
    training = TrainingConfig(epochs=epochs, validate_every=every)
    ends = [e for e in range(1, epochs + 1) if e == epochs or e % every == 0]
    drawn = [epoch for epoch in ends if pictures.is_pictured(epoch, training)]
    assert len(drawn) == n
    assert drawn[-1] == epochs


def test_a_picture_that_fails_is_said_and_stops_nothing(generator_values, tmp_path, monkeypatch):
    def broken(*given, **more):
        raise ValueError("no picture today")

    monkeypatch.setattr(pictures, "draw_samples", broken)
    said = []
    train(config(generator_values), tmp_path / "run", say=said.append)
    assert [line for line in said if "no picture today" in line] == said
    assert len(said) == 3


@pytest.mark.usefixtures("no_pictures")
def test_another_configuration_or_damage_is_refused(generator_values, tmp_path):
    run = train(config(generator_values), tmp_path / "run")
    with pytest.raises(RunError, match=r"another run \(training.epochs: 3 there, 4 wanted\)"):
        train(config(generator_values, training={"epochs": 4}), run.folder)
    with pytest.raises(RunError, match="conditions"):
        train(config(generator_values, conditions={"values": ["energy"]}), run.folder)
    content = weights(run.folder)
    (run.folder / MODEL).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(RunError, match="damaged or of another run"):
        open_generator(run.folder)
    (run.folder / MODEL).unlink()
    with pytest.raises(RunError, match="missing"):
        open_generator(run.folder)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("conditions", [{"name": "a", "kind": "colour"}], "damaged"),
        ("representation", {"name": "ircr", "max_sites": 0}, "damaged"),
        ("model", {}, "damaged"),
        ("format", 99, "format version 99"),
        ("model", {"name": "copier", "width": 5}, "does not fit its model"),
    ],
)
def test_damaged_records(generator_values, tmp_path, key, value, said):
    run = train(config(generator_values, training={"epochs": 1}), tmp_path / "run")
    record = json.loads((run.folder / RECORD).read_text())
    (run.folder / RECORD).write_text(json.dumps(record | {key: value}))
    with pytest.raises(RunError, match=said):
        open_generator(run.folder)


@pytest.mark.usefixtures("no_pictures")
def test_predictors_and_generators_are_told_apart(generator_values, tmp_path, run):
    made = train(config(generator_values, training={"epochs": 1}), tmp_path / "run")
    for opening in (open_run, lambda folder: predict(Crystals.empty(), model=folder)):
        with pytest.raises(RunError, match="is a generator's: `crystalcodec generate`"):
            opening(made.folder)
    with pytest.raises(RunError, match="is a generator's"):
        compare([made.folder])
    for opening in (open_generator, find_generator):
        with pytest.raises(RunError, match="is a predictor's: `crystalcodec predict`"):
            opening(run.folder)
    for command in (["predict", "x.cif", "--model"], ["evaluate"]):
        result = CliRunner().invoke(app, [*command, str(made.folder)])
        assert isinstance(result.exception, RunError)


@pytest.mark.usefixtures("no_pictures")
def test_models_are_found_by_folder_seed_and_name(generator_values, tmp_path, monkeypatch):
    from crystalcodec.workflow.generating import runs

    one = config(generator_values, training={"epochs": 1})
    train_seeds(one, tmp_path / "seeds", [3, 11])
    assert find_generator(tmp_path / "seeds").config.seed == 3
    assert find_generator(tmp_path / "seeds", seed=11).config.seed == 11
    assert find_generator(tmp_path / "seeds" / "seed-11").config.seed == 11
    with pytest.raises(RunError, match="no run seed-4: it holds seed-3, seed-11"):
        find_generator(tmp_path / "seeds", seed=4)
    with pytest.raises(RunError, match="no run seed-0: it holds no seed-N run"):
        find_generator(tmp_path / "seeds" / "seed-3", seed=0)
    monkeypatch.setattr(runs, "PRETRAINED_GENERATORS", {})
    with pytest.raises(RunError, match="no generator in the package yet"):
        find_generator()
    monkeypatch.setattr(runs, "FOLDER", tmp_path / "seeds")
    monkeypatch.setattr(runs, "PRETRAINED_GENERATORS", {"good": "seed-11", "other": "seed-3"})
    assert find_generator().config.seed == 11
    assert find_generator("other").config.seed == 3
    with pytest.raises(RunError, match="did you mean 'good'"):
        find_generator("god")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="no run folder"):
        find_generator(tmp_path / "empty")


@pytest.mark.usefixtures("no_pictures")
def test_the_command_trains_and_says_how_it_went(generator_values, tmp_path):
    (tmp_path / "run.toml").write_text(config(generator_values).to_toml())
    given = ["train", str(tmp_path / "run.toml"), "-o"]
    result = CliRunner().invoke(app, [*given, str(tmp_path / "one")])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{tmp_path / 'one'}: learning_rate")
    assert "validation_loss" in result.stdout
    told = ("--condition-values", "energy", "--condition-crystal", "elements,space_group")
    run = CliRunner().invoke(app, [*given, str(tmp_path / "told"), *told, "--epochs", "1"])
    assert run.exit_code == 0
    names = open_generator(tmp_path / "told").conditions.names
    assert names == ("elements", "space_group", "energy")
    both = CliRunner().invoke(
        app, [*given, str(tmp_path / "two"), "--seed", "0", "--seed", "1", "--quiet"]
    )
    assert [line.partition(": ")[0] for line in both.stdout.splitlines()] == [
        str(tmp_path / "two" / f"seed-{i}") for i in (0, 1)
    ]


@pytest.mark.usefixtures("no_pictures")
def test_what_is_left_out_is_said_and_nothing_left_is_an_error(
    generator_values, tmp_path, made_dataset
):
    large = Crystals.concatenate([made_dataset(30).crystals, made_dataset(2).crystals.supercell(2)])
    Dataset.from_crystals(large).write(tmp_path / "train.parquet")
    said = []
    run = train(config(generator_values, training={"epochs": 1}), tmp_path / "run", say=said.append)
    assert said == ["train: 30 of 32 crystals used; left out: 2 too many sites"]
    assert run.record["data"]["train"]["failures"] == {"too many sites": 2}
    Dataset.from_crystals(large[30:]).write(tmp_path / "validation.parquet")
    with pytest.raises(ConfigError, match="none of the validation crystals: too many sites"):
        train(config(generator_values), tmp_path / "other")
    assert not (tmp_path / "other").exists()
    for name in ("train", "validation"):
        made_dataset(10, energy=np.ones(10)).write(tmp_path / f"{name}.parquet")
    with pytest.raises(ConditionError, match="no two that differ"):
        train(config(generator_values, conditions={"values": ["energy"]}), tmp_path / "other")


def test_arrays_made_batch_by_batch_are_those_of_memory(made_dataset, monkeypatch):
    crystals = made_dataset(20).crystals
    extra = {"condition.a": np.arange(20.0, dtype=np.float32)[:, None]}
    given = (crystals, IRCR(max_sites=4), extra)
    names = ("permute_sites", "shift_origin")
    index = torch.tensor([7, 3, 3, 19])

    def batches():
        source = ArraySource(*given, names, 0, CPU)
        plain = CrystalArrays(*given, CPU)
        return [plain.batch(index), *(source.epoch(i).batch(index) for i in (0, 1, 0))]

    kept = batches()
    monkeypatch.setattr(sources, "_MOST_BYTES", 0)
    made = batches()
    for one, other in zip(kept, made, strict=True):
        assert {*one} == {"ircr", "condition.a"}
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=0, atol=0)
    assert not torch.equal(kept[1]["ircr"], kept[2]["ircr"])
    assert torch.equal(kept[1]["ircr"], kept[3]["ircr"])


@pytest.mark.usefixtures("no_pictures")
def test_a_source_too_large_for_memory_trains_the_same(generator_values, tmp_path, monkeypatch):
    one = train(config(generator_values), tmp_path / "memory")
    monkeypatch.setattr(sources, "_MOST_BYTES", 0)
    other = train(config(generator_values), tmp_path / "parts")
    assert weights(one.folder) == weights(other.folder)


def test_an_augmentation_that_breaks_crystals_is_said(made_dataset):
    """What fits before and not after it is no crystal to leave out in silence."""

    class Never(IRCR):
        def refuse(self, crystals):
            from crystalcodec.failures import Failure

            return [Failure(0, "too tired")]

    arrays = CrystalArrays(made_dataset(3).crystals, Never(max_sites=4), {}, CPU)
    with pytest.raises(ConfigError, match="too tired"):
        arrays.batch(torch.arange(3))


@pytest.fixture
def generator(copier, made_dataset):
    """A copier of eight crystals, prepared and not trained."""
    crystals = made_dataset(8).crystals
    made = copier(IRCR(max_sites=4, tolerance=0.5), Conditions())
    made.prepare(crystals, {"ircr": torch.from_numpy(made.representation.encode(crystals)["ircr"])})
    return made


def test_samples_do_not_depend_on_the_batches_around_them(generator):
    generator.train()
    many = sample_arrays(generator, 10, seed=4, batch_size=4, settings={"blur": 0.1})
    few = sample_arrays(generator, 4, seed=4, batch_size=4, settings={"blur": 0.1})
    assert generator.training
    assert many.n == 10
    np.testing.assert_array_equal(many.arrays["ircr"][:4], few.arrays["ircr"])
    assert not np.array_equal(many.arrays["ircr"][:4], many.arrays["ircr"][4:8])
    other = sample_arrays(generator, 4, seed=5, batch_size=4, settings={"blur": 0.1})
    assert not np.array_equal(other.arrays["ircr"], few.arrays["ircr"])
    parts = [*iter_samples(generator, 10, seed=4, batch_size=4, settings={"blur": 0.1})]
    assert [len(part["ircr"]) for part in parts] == [4, 4, 2]
    np.testing.assert_array_equal(
        np.concatenate([part["ircr"] for part in parts]), many.arrays["ircr"]
    )


def test_samples_leave_the_global_random_numbers_alone(generator):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    sample_arrays(generator, 4)
    assert torch.equal(torch.rand(3), expected)


def test_samples_are_decoded_one_by_one(generator, made_dataset):
    sampled = sample_arrays(generator, 8, settings={"broken": 2})
    crystals, reasons = sampled.of_each()
    assert crystals[:2] == [None, None]
    assert reasons[:2] == ["not finite"] * 2
    wanted = made_dataset(8).crystals.formulas
    assert [one.formulas[0] for one in crystals[2:]] == [*wanted[2:]]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"n": 0}, "wanted at least 1"),
        ({"batch_size": 0}, "wanted at least 1"),
        ({"settings": {"brokne": 1}}, "did you mean 'broken'"),
        ({"settings": {"broken": 1.5}}, "broken of generator 'copier' is 1.5: wanted such as 0"),
        ({"settings": {"broken": True}}, "wanted such as 0"),
        ({"settings": {"blur": "much"}}, "wanted such as 0.0"),
    ],
)
def test_settings_that_make_no_sense(generator, given, said):
    with pytest.raises(ModelError, match=said):
        sample_arrays(generator, **{"n": 3, **given})


def test_wishes_are_checked_before_the_first_batch(generator):
    with pytest.raises(ConditionError, match="space_group"):
        iter_samples(generator, 3, Wanted(space_group=225))
    assert sample_arrays(generator, 3, Wanted("TiO2"), settings={"blur": 1}).n == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"target": {"column": "energy"}}, "is a generator, which has no target"),
        ({"inputs": {"runs": ["runs/a"]}}, "is a generator, which has no target and no inputs"),
        ({"scaling": {"kind": "minmax"}}, r"leave \[scaling\] out"),
        ({"training": {"loss": "mse"}}, "leave training.loss out"),
        ({"training": {"snapshots": 3}}, "leave training.snapshots out"),
        ({"augmentation": {"names": ["permute_sites"], "copies": 2}}, "augmentation.copies"),
        ({"conditions": {"crystal": ["colour"]}}, "conditions.crystal"),
        ({"conditions": {"kind": ["a"]}}, "unknown key 'conditions.kind'"),
        ({"model": {"name": "mlp"}}, "'target' is missing"),
        (
            {"model": {"name": "mlp"}, "target": {"column": "energy"}, "conditions": {}},
            "only a generator has conditions",
        ),
    ],
)
def test_configurations_that_are_neither(generator_values, changes, said):
    with pytest.raises(ConfigError, match=said):
        config(generator_values, **changes)


def test_a_configuration_comes_back_from_its_own_file(generator_values, tmp_path):
    first = config(generator_values, conditions={"values": ["energy"], "crystal": ["elements"]})
    (tmp_path / "run.toml").write_text(first.to_toml())
    assert RunConfig.read(tmp_path / "run.toml") == first
    assert RunConfig.of(first.values()) == first


def test_a_description_that_cannot_be_held_is_not_taken(made_dataset):
    """Turned, half of these cells reach out of the cube; these stay as they are."""
    from crystalcodec.representations.density_cube import DensityCube

    crystals = made_dataset(40).crystals
    representation = DensityCube(edge=4.0, n_points=8)
    crystals = crystals[
        np.setdiff1d(np.arange(40), [f.index for f in representation.refuse(crystals)])
    ]
    assert len(crystals) > 5
    source = ArraySource(crystals, representation, {}, ("rotate",), 0, torch.device("cpu"))
    drawn = source.epoch(3).crystals
    turned = np.abs(drawn.lattices - crystals.lattices).max(axis=(1, 2)) > 1e-6
    assert 0 < turned.sum() < len(crystals)
    assert not representation.refuse(drawn)
    assert len(source.epoch(3).batch(torch.arange(len(crystals)))) > 0
