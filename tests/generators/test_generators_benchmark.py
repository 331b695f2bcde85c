"""The table of all generators, on one whose samples are known."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crystalcodec import prototypes
from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset
from crystalcodec.evaluation.base import Attempts
from crystalcodec.failures import Failure
from crystalcodec.workflow.config import RunConfig
from crystalcodec.workflow.generating import training

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark_module(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    for name in ("generators", "generators_table", "record"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import generators

    yield generators
    for name in ("generators", "generators_table", "record"):
        sys.modules.pop(name, None)


@pytest.fixture
def folder(tmp_path, toy, monkeypatch):
    """Data like MP-20's, and a run of a generator that gives its first crystal again and again."""
    some = prototypes().crystals.right_handed()
    few = some[np.flatnonzero(some.n_sites <= 4)[:40]]
    Dataset.from_crystals(few[:24]).write(tmp_path / "train.parquet")
    Dataset.from_crystals(few[24:]).write(tmp_path / "val.parquet")
    config = RunConfig.of(
        {
            "data": {
                "dataset": str(tmp_path / "train.parquet"),
                "validation": str(tmp_path / "val.parquet"),
            },
            "representation": {"name": "ircr", "max_elements": 4, "tolerance": 0.5},
            "model": {"name": "toy"},
            "training": {"epochs": 1, "batch_size": 8},
        }
    )
    for picture in ("write_sample_picture", "write_history"):
        monkeypatch.setattr(training, picture, lambda *given: None)
    training.train_generator(config, tmp_path / "run", progress=False)
    return tmp_path


def test_a_generator_that_always_makes_the_same(folder, benchmark_module, monkeypatch):
    page = folder / "page.md"
    page.write_text(
        "before\n<!-- generators: begin -->\nold table\n<!-- generators: end -->\nafter\n"
    )
    arguments = [
        *("--runs", f"same={folder / 'run'}", f"none={folder / 'nothing'}"),
        *("-n", "12", "--seeds", "0", "1", "--mp20", str(folder)),
        *("--cache", str(folder / "cache"), "-o", str(folder / "out" / "made.json")),
        *("--docs", str(page), "--threads", "1"),
    ]
    benchmark_module.main(arguments)
    result = json.loads((folder / "out" / "made.json").read_text())
    same, none, held_out, random, substituted = result["rows"]
    assert [one["name"] for one in result["rows"]] == [
        *("same", "none", "held-out", "random", "substituted")
    ]
    assert same["generator"] == "toy"
    assert same["epochs"] == 1
    assert "no run" in none["error"] or "nothing" in none["error"]
    means = same["means"]
    # One kind among 12 attempts, and it is a training crystal.
    assert means["novelty.uniqueness"]["mean"] == pytest.approx(1 / 12)
    assert means["novelty.novelty"]["mean"] == 0
    assert means["decoded"] == {"mean": 1.0, "deviation": 0.0, "n_seeds": 2}
    assert means["support.crystal"]["mean"] == 1
    # 8 of the 16 held-out crystals make the baseline; 12 are compared with the made ones.
    assert [one["n"] for one in held_out["cells"]] == [8, 8]
    assert same["cells"][0]["collapse"]["n"] == 12
    kinds = same["cells"][0]["collapse"]["real"]["crystal"]["n_kinds"]
    assert means["kinds.crystal"]["mean"] == pytest.approx(1 / kinds, rel=0.2)
    assert means["seconds_per_1000"]["mean"] > 0
    for one in (random, substituted):
        assert one["means"]["novelty.novelty"]["mean"] > 0
    assert "over all attempts" in result["definitions"]["novelty.novelty"].lower()
    text = page.read_text()
    assert text.startswith("before\n<!-- generators: begin -->\n12 samples a seed, against")
    assert text.endswith("<!-- generators: end -->\nafter\n")
    assert "| `same` | 1 | 0, 1 | 100.0 ± 0.0 %" in text
    assert "- `none`:" in text
    assert "old table" not in text

    # Again: nothing is sampled or judged anew, and the same comes out.
    monkeypatch.setattr(benchmark_module, "sample_arrays", None)
    monkeypatch.setattr(benchmark_module, "judge", None)
    monkeypatch.setattr(benchmark_module, "collapse", None)
    benchmark_module.main(arguments)
    again = json.loads((folder / "out" / "made.json").read_text())
    assert again["rows"] == result["rows"]


def test_rows_of_an_earlier_table_are_taken_over(folder, benchmark_module):
    def main(runs, out, *more):
        benchmark_module.main(
            [
                *("--runs", *runs, "-n", "6", "--mp20", str(folder), "--threads", "1"),
                *("--cache", str(folder / "cache"), "-o", str(folder / out), *more),
            ]
        )
        return json.loads((folder / out).read_text())

    run = folder / "run"
    first = main([f"one={run}", f"two={run}"], "first.json")
    first["rows"][1]["means"] = {}  # what is measured anew takes the place of what was known
    (folder / "first.json").write_text(json.dumps(first))
    known = ("--known", str(folder / "first.json"), "--no-baselines")
    grown = main([f"two={run}", f"three={run}"], "grown.json", *known)
    assert [one["name"] for one in grown["rows"]] == [
        *("one", "two", "three", "held-out", "random", "substituted")
    ]
    assert grown["rows"][0] == first["rows"][0]
    unique = [one["means"]["novelty.uniqueness"]["mean"] for one in grown["rows"][:3]]
    assert unique == [pytest.approx(1 / 6)] * 3
    assert grown["rows"][3:] == first["rows"][2:]
    assert grown["definitions"] == first["definitions"]
    text = (folder / "grown.md").read_text()
    assert text.count("| `one` |") == 3  # quality, variety, cost

    with pytest.raises(SystemExit, match=r"first.json was measured otherwise: n 6, now 5"):
        main([f"three={run}"], "other.json", *known, "-n", "5")
    # The energies of a hull are rounded otherwise on another machine.
    plain = f"{first['definitions']['validity.validity']} of 3 phases"
    now = {**first, "definitions": {"validity.validity": plain}}
    first["definitions"]["validity.validity"] = f"{plain} (hash 0123456789ab)"
    both = benchmark_module.with_known(now, first)
    assert both["definitions"]["validity.validity"] == plain
    first["definitions"]["validity.validity"] = "another one"
    (folder / "first.json").write_text(json.dumps(first))
    with pytest.raises(SystemExit, match=r"other definitions of validity\.validity"):
        main([f"three={run}"], "other.json", *known)
    assert not (folder / "other.json").exists()


def test_a_row_of_several_trainings(folder, benchmark_module):
    """Each seed samples its own; rows of other seeds may stand beside it."""
    for name in ("again", "other"):
        shutil.copytree(folder / "run", folder / name)
    record = json.loads((folder / "again" / "run.json").read_text())
    record["history"]["seconds"] += 8.0
    (folder / "again" / "run.json").write_text(json.dumps(record))
    record["representation"]["tolerance"] = 0.25
    (folder / "other" / "run.json").write_text(json.dumps(record))

    def main(out, *more):
        benchmark_module.main(
            [
                *("-n", "6", "--mp20", str(folder), "--threads", "1", "--no-baselines"),
                *("--cache", str(folder / "cache"), "-o", str(folder / out), *more),
            ]
        )
        return json.loads((folder / out).read_text())["rows"]

    run, again, other = (folder / name for name in ("run", "again", "other"))
    main("one.json", "--runs", f"one={run}")
    known = ("--known", str(folder / "one.json"), "--seeds", "1", "2")
    one, two, unlike, few = main(
        "more.json",
        *known,
        *("--runs", f"two={run},{again}", f"unlike={run},{other}", f"few={run},{again},{run}"),
    )
    assert [cell["seed"] for cell in one["cells"]] == [0]
    assert [cell["seed"] for cell in two["cells"]] == [1, 2]
    assert (one["trainings"], two["trainings"]) == (1, 2)
    assert two["training_seconds"] == pytest.approx(one["training_seconds"] + 4)
    assert "differ in their representation" in unlike["error"]
    assert "3 trainings and 2 seeds" in few["error"]
    text = (folder / "more.md").read_text()
    assert "| `one` | 1 | 0 | 100.0 % |" in text
    assert "| `two` | 2 | 1, 2 | 100.0 ± 0.0 % |" in text


def test_each_seed_has_its_training(benchmark_module):
    one, two = Path("one"), Path("two")
    assert benchmark_module._folders_of_seeds([one, two], [5, 3]) == {5: one, 3: two}
    assert benchmark_module._folders_of_seeds([one], [5, 3]) == {5: one, 3: one}


def test_failures_count_in_what_is_relaxed(benchmark_module):
    crystals = prototypes().crystals[:4]
    attempts = Attempts.of(crystals, [Failure(1, "no cell"), Failure(4, "no cell")])
    few = benchmark_module.first_of(attempts, 3)
    assert few.n == 3
    assert few.positions.tolist() == [0, 2]
    assert [failure.index for failure in few.failures] == [1]
    assert benchmark_module.first_of(attempts, 100).n == 6


def test_what_counts_in_several_figures(benchmark_module, tmp_path):
    """Valid, unique and novel is one share: none that misses one of them is in it."""

    def pair(shift, *numbers):
        return Crystals.single(np.eye(3) * 4, [[0, 0, 0], [shift] * 3], numbers)

    known = prototypes().crystals[:20]
    caesium_chloride, near, overlapping = pair(0.5, 55, 17), pair(0.15, 3, 9), pair(0.05, 11, 9)
    crystals = Crystals.concatenate(
        [caesium_chloride, caesium_chloride, near, overlapping, known[:1]]
    )
    attempts = Attempts.of(crystals, [Failure(0, "no cell")])
    protocol = benchmark_module.Protocol(known, known, 6, tmp_path)
    figures, _ = benchmark_module._judged(attempts, known, protocol)
    assert figures["novelty.unique_and_novel"]["value"] == 3 / 6
    assert figures["together.valid_unique_novel"]["value"] == 2 / 6
    assert figures["together.plausible_unique_novel"]["value"] == 1 / 6
    assert "validity.separation" in figures["together.plausible_unique_novel"]["definition"]


def test_no_sample_that_is_a_crystal(benchmark_module, tmp_path):
    """All attempts failed: shares are 0, not missing, and the reason is told."""
    some = prototypes().crystals[:30]
    protocol = benchmark_module.Protocol(some[:20], some[20:], 5, tmp_path)
    attempts = Attempts.of(Crystals.empty(), [Failure(i, "no cell") for i in range(5)])
    drawn = benchmark_module.Drawn(attempts, some[20:], {})
    made = benchmark_module.row("none", lambda seed: drawn, [0], protocol, {})
    assert made["means"]["validity.structural_validity"]["mean"] == 0
    assert made["means"]["novelty.unique_and_novel"]["mean"] == 0
    assert made["means"]["together.valid_unique_novel"]["mean"] == 0
    assert made["cells"][0]["failures"] == {"no cell": 5}
    from generators_table import tables

    result = {"n": 5, "seeds": [0], "relax": 0, "sampling_threads": 1, "rows": [made]}
    text = tables({**result, "train": {"n": 20}, "held_out": {"n": 10}})
    assert "- *none*: 5 no cell" in text


def test_names(benchmark_module):
    assert benchmark_module._pairs(["a=b=c"]) == {"a": "b=c"}
    for wrong in (["a"], ["a=b", "a=c"], ["=b"], ["random=x"]):
        with pytest.raises(SystemExit):
            benchmark_module._pairs(wrong)


def test_samples_are_drawn_anew_where_a_default_is_another(
    folder, benchmark_module, monkeypatch, toy
):
    held_out = Dataset.read(folder / "val.parquet").crystals
    protocol = benchmark_module.Protocol(held_out, held_out, 3, folder / "cache")
    drawn = []

    def watched(*given, settings, **more):
        drawn.append(settings)
        return sample_arrays(*given, **more)

    sample_arrays = benchmark_module.sample_arrays
    monkeypatch.setattr(benchmark_module, "sample_arrays", watched)
    for default in (1.0, 2.0, 2.0, 1.0):
        known = classmethod(lambda cls, default=default: {"blur": default})
        monkeypatch.setattr(toy, "sample_settings", known)
        made = benchmark_module.sampled("toy", folder / "run", 0, protocol)
        assert made.about["settings"] == {"blur": default}
    assert drawn == [{"blur": 1.0}, {"blur": 2.0}]
    given = replace(protocol, settings={"toy": {"blur": 3.0}})
    benchmark_module.sampled("toy", folder / "run", 0, given)
    assert drawn[2:] == [{"blur": 3.0}]


def test_samples_decoded_by_other_limits(folder, benchmark_module):
    """The same noisy arrays within 0.5, as trained, and within 0.001; each kept as its own."""
    held_out = Dataset.read(folder / "val.parquet").crystals
    settings = {"toy": {"blur": 0.01}}
    protocol = benchmark_module.Protocol(held_out, held_out, 3, folder / "cache", settings=settings)
    strict = replace(protocol, decoding={"toy": {"tolerance": 0.001}})
    for _ in range(2):
        made = benchmark_module.sampled("toy", folder / "run", 0, protocol)
        assert (made.attempts.n, len(made.attempts.crystals)) == (3, 3)
        assert made.about["decoding"] == {}
        made = benchmark_module.sampled("toy", folder / "run", 0, strict)
        assert (made.attempts.n, len(made.attempts.crystals)) == (3, 0)
        assert made.about["decoding"] == {"tolerance": 0.001}
