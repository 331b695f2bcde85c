"""Judging: figures and their tables are right, nothing is computed twice, kills do no harm."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from operator import attrgetter

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from crystalcodec import prototypes
from crystalcodec.cli.judge import judge as judge_command
from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset
from crystalcodec.data.dataset import DatasetMetadata
from crystalcodec.evaluation.base import Attempts, EvaluationError, Evidence, Figure
from crystalcodec.failures import Failure
from crystalcodec.io import ReadError, write
from crystalcodec.registry import FAMILIES, MissingExtraError, UnknownNameError
from crystalcodec.relaxation.base import Relaxed
from crystalcodec.workflow import judge_baselines, judge_figures, judge_store
from crystalcodec.workflow.judge_baselines import HELD_OUT, RANDOM, SUBSTITUTED
from crystalcodec.workflow.judge_inputs import read_attempts, read_known, read_wanted
from crystalcodec.workflow.judge_pages import funnel_stages, ranking, spread_figures
from crystalcodec.workflow.judge_store import Store, crystal_keys, load_arrays, save_arrays
from crystalcodec.workflow.judging import judge

CRYSTALS = prototypes().crystals[:40]


class Counted:
    """Numbers of sites, and which crystals they were asked of."""

    def __init__(self, stop_after=None):
        self.seen = []
        self.stop_after = stop_after

    def __call__(self, crystals):
        if self.stop_after is not None and len(self.seen) >= self.stop_after:
            raise KeyboardInterrupt
        self.seen += list(crystals.formulas)
        return np.stack([crystals.n_sites, crystals.volumes], axis=1)


def volumes(crystals):
    return crystals.volumes / crystals.n_sites


def rows_of(crystals):
    return np.stack([crystals.n_sites, crystals.volumes], axis=1)


def stored(folder, crystals=CRYSTALS, **more):
    return Store(Attempts.of(crystals), folder=folder, **more)


def sizes(evidence):
    """A family: volume per atom, and the share above 15 Å3."""
    attempts = evidence.attempts
    rows = attempts.spread(evidence.each("volumes", attempts.crystals, volumes), np.nan)
    large = np.nan_to_num(rows) > 15
    return [
        Figure.mean("volume_per_atom", "Mean volume per atom.", rows, unit="Å³", better="lower"),
        Figure.share("structural_validity", "Share of attempts above 15 Å3 per atom.", large),
    ]


def against_held_out(evidence):
    """A family that needs held-out crystals: how many attempts are among them."""
    if evidence.held_out is None:
        return []
    known = {*crystal_keys(evidence.held_out)}
    there = np.array([key in known for key in crystal_keys(evidence.attempts.crystals)], bool)
    return [Figure.share("known", "Share among held-out.", evidence.attempts.spread(there))]


TOYS = {"sizes": sizes, "against": against_held_out}


# The store


def test_rows_are_those_of_the_function_and_computed_once(tmp_path):
    function = Counted()
    first = stored(tmp_path).each("sizes", CRYSTALS, function)
    assert np.array_equal(first, rows_of(CRYSTALS))
    assert function.seen == list(CRYSTALS.formulas)
    again = stored(tmp_path).each("sizes", CRYSTALS[::-1], function)
    assert np.array_equal(again, rows_of(CRYSTALS)[::-1])
    assert len(function.seen) == 40


def test_only_unknown_crystals_are_worked_on(tmp_path):
    function = Counted()
    stored(tmp_path).each("sizes", CRYSTALS[:10], function)
    both = stored(tmp_path).each("sizes", CRYSTALS, function)
    assert function.seen == [*CRYSTALS[:10].formulas, *CRYSTALS[10:].formulas]
    assert np.array_equal(both, rows_of(CRYSTALS))
    twice = Crystals.concatenate([CRYSTALS[:3], CRYSTALS[:3]])
    fresh = Counted()
    rows = stored(tmp_path).each("other", twice, fresh)
    assert len(fresh.seen) == 3
    assert np.array_equal(rows, rows_of(twice))
    assert len(list((tmp_path / "rows").rglob("*.npz"))) == 2, "one file a name after merging"


def test_names_of_any_kind_are_kept_apart(tmp_path):
    names = ["../../up", "a/b", "a:b", "ü" * 400, "", "a b", "nul\0"]
    for i, name in enumerate(names):
        made = stored(tmp_path).each(name, CRYSTALS[:2], partial(_constant, value=i))
        assert made.tolist() == [i, i]
    for i, name in enumerate(names):
        made = stored(tmp_path).each(name, CRYSTALS[:2], partial(_constant, value=-1))
        assert made.tolist() == [i, i]
    assert not [path for path in tmp_path.parent.iterdir() if path.name.startswith("up")]


def _constant(crystals, value):
    return np.full(len(crystals), value)


def test_rows_of_texts_and_of_no_crystals(tmp_path):
    store = stored(tmp_path)
    texts = store.each("names", CRYSTALS, _names)
    assert texts.tolist() == list(CRYSTALS.formulas)
    assert stored(tmp_path).each("names", CRYSTALS, _names).tolist() == texts.tolist()
    assert store.each("sizes", CRYSTALS[:0], rows_of).shape == (0, 2)


def _names(crystals):
    return np.array(crystals.formulas)


def test_other_code_gives_other_rows(tmp_path, monkeypatch):
    stored(tmp_path).each("sizes", CRYSTALS, rows_of)
    monkeypatch.setattr(judge_store, "code_version", lambda: "later")
    function = Counted()
    stored(tmp_path).each("sizes", CRYSTALS, function)
    assert len(function.seen) == 40


@pytest.mark.parametrize("part", ["data", "evaluation", "io", "models", "representations"])
def test_the_source_of_every_row_counts(part, tmp_path, monkeypatch):
    """Predicted properties are rows of models: another text of these makes other rows."""
    package = tmp_path / "crystalcodec"
    (package / part).mkdir(parents=True)
    source = package / part / "one.py"
    monkeypatch.setattr(judge_store.crystalcodec, "__file__", str(package / "__init__.py"))
    found = []
    for text in ("a = 1", "a = 2"):
        source.write_text(text)
        found.append(judge_store.code_version.__wrapped__())
    assert found[0] != found[1]


def test_crystals_that_differ_in_one_number_have_other_keys():
    one = CRYSTALS[3]
    moved = Crystals(one.lattices, one.frac_coords + 1e-12, one.numbers, one.offsets)
    wider = Crystals(one.lattices * (1 + 1e-15), one.frac_coords, one.numbers, one.offsets)
    assert crystal_keys(one) == crystal_keys(CRYSTALS)[3:4]
    assert len({*crystal_keys(Crystals.concatenate([one, moved, wider]))}) == 3


def test_an_interrupted_evaluation_goes_on(tmp_path):
    many = prototypes().crystals[:200]
    with pytest.raises(KeyboardInterrupt):
        stored(tmp_path, many).each("sizes", many, Counted(stop_after=100))
    rest = Counted()
    rows = stored(tmp_path, many).each("sizes", many, rest)
    assert np.array_equal(rows, rows_of(many))
    assert len(rest.seen) == 200 - 128  # two parts of 64 were done


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_damaged_files_count_as_absent(tmp_path, damage):
    stored(tmp_path).each("sizes", CRYSTALS, rows_of)
    (path,) = (tmp_path / "rows").rglob("*.npz")
    path.write_bytes(path.read_bytes()[:-200] if damage is None else damage)
    function = Counted()
    assert np.array_equal(stored(tmp_path).each("sizes", CRYSTALS, function), rows_of(CRYSTALS))
    assert len(function.seen) == 40


def test_nothing_is_pickled_and_nothing_unpickled(tmp_path):
    with pytest.raises(EvaluationError, match="Python objects"):
        stored(tmp_path).each("objects", CRYSTALS, _objects)
    with pytest.raises(EvaluationError, match="Python objects"):
        stored(tmp_path).once("objects", lambda: {"a": _objects(CRYSTALS)})
    planted = tmp_path / "planted.npz"
    np.savez(planted, names=np.array(["a"]), **{"0": np.array([{}], object)}, allow_pickle=True)
    assert load_arrays(planted) is None


def _objects(crystals):
    return np.array([{}] * len(crystals), object)


def test_rows_must_be_one_a_crystal_and_of_one_shape(tmp_path):
    with pytest.raises(EvaluationError, match=r"shape \(3,\) for 40"):
        stored(tmp_path).each("few", CRYSTALS, lambda crystals: np.zeros(3))
    many = prototypes().crystals[:100]
    with pytest.raises(EvaluationError, match="one shape"):
        stored(tmp_path).each("ragged", many, lambda crystals: np.zeros((len(crystals),) * 2))


def test_wholes_belong_to_their_evidence(tmp_path):
    calls = []

    def whole():
        calls.append(1)
        return {"a/b \0": np.arange(3), "ü": np.array([["x", "yz"]])}

    found = [stored(tmp_path).once("w", whole) for _ in range(2)]
    assert len(calls) == 1
    assert found[1]["a/b \0".rstrip("\0")].tolist() == [0, 1, 2]
    assert found[1]["ü"].tolist() == [["x", "yz"]]
    others = [
        stored(tmp_path, CRYSTALS[:39]),
        stored(tmp_path, train=CRYSTALS[:2]),
        stored(tmp_path, held_out=CRYSTALS[:2]),
        Store(Attempts.of(CRYSTALS, [Failure(0, "no")]), folder=tmp_path),
        Store(Attempts.of(CRYSTALS, [Failure(40, "no")]), folder=tmp_path),
    ]
    for i, other in enumerate(others):
        other.once("w", whole)
        assert len(calls) == i + 2


def test_processes_give_the_same_rows(tmp_path):
    many = prototypes().crystals[:150]
    told = []
    store = stored(tmp_path, many, jobs=2, progress=lambda *args: told.append(args))
    # A function that another process can import.
    assert np.array_equal(store.each("sizes", many, attrgetter("volumes")), many.volumes)
    assert told[-1] == ("sizes", 150, 150)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


SCRIPT = """
import sys, time
from pathlib import Path
import numpy as np
from crystalcodec import prototypes
from crystalcodec.evaluation.base import Attempts, Figure
from crystalcodec.workflow import judge_store
from crystalcodec.workflow.judging import judge

folder = Path(sys.argv[1])
judge_store._SECONDS = 0.0

def slow(crystals):
    with open(folder / "log", "a") as file:
        file.write(f"{len(crystals)}\\n")
    time.sleep(float(sys.argv[2]))
    return crystals.n_sites

def family(evidence):
    attempts = evidence.attempts
    rows = attempts.spread(evidence.each("slow", attempts.crystals, slow))
    return [Figure.mean("sites", "Mean number of sites.", rows)]

crystals = prototypes().crystals[:640]
made = judge(Attempts.of(crystals), families={"slow": family}, folder=folder / "cache")
print(made.figure("sites").value == crystals.n_sites.mean())
"""


def test_a_killed_evaluation_goes_on(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    log = tmp_path / "log"
    process = subprocess.Popen([sys.executable, script, tmp_path, "0.3"])
    try:
        deadline = time.monotonic() + 60
        while not (log.exists() and len(log.read_text().split()) >= 4):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    before = len(log.read_text().split())
    done = subprocess.run(
        [sys.executable, script, tmp_path, "0"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"
    after = len(log.read_text().split()) - before
    assert before < 10, "it was killed in the middle"
    # The part that was being worked on is done again, and nothing else.
    assert before + after == 11
    assert not list(tmp_path.rglob(".*.npz")) or after, "what was cut off is not read"


# Figures


def test_figures_of_made_attempts_by_hand():
    cell = np.diag([2.0, 3.0, 4.0])  # 24 Å3, one atom
    small, large = (Crystals.single(cell * scale, [[0, 0, 0]], [11]) for scale in (0.5, 1.0))
    attempts = Attempts.of(Crystals.concatenate([large, small]), [Failure(1, "no cell")])
    made = judge(attempts, families=TOYS)
    assert made.figure("volume_per_atom").value == (24 + 3) / 2
    assert made.figure("sizes.structural_validity").value == 1 / 3
    low, high = made.figure("structural_validity").low, made.figure("structural_validity").high
    assert low == 0
    assert 2 / 3 <= high <= 1
    assert made.left_out == {"against": "nothing to measure it against was given"}
    with pytest.raises(KeyError, match=r"sizes\.volume_per_atom"):
        made.figure("volume")


def test_the_interval_is_that_of_the_figure():
    figure = sizes(Evidence(Attempts.of(CRYSTALS)))[0]
    made = judge(Attempts.of(CRYSTALS), families={"sizes": sizes}, seed=3)
    found = made.figure("volume_per_atom")
    assert (found.low, found.high) == figure.interval(0.95, n_resamples=200, seed=3)


@pytest.mark.parametrize(
    "attempts",
    [
        Attempts.of(Crystals.empty(), [Failure(i, "no cell") for i in range(3)]),
        Attempts.of(CRYSTALS[:1]),
        Attempts.of(Crystals.single(np.eye(3) * 100, np.zeros((4, 3)), [2, 10, 118, 1])),
    ],
    ids=["all failed", "one", "overlapping noble gases in a huge cell"],
)
def test_junk_is_judged_and_reported(attempts, tmp_path):
    made = judge(attempts, held_out=CRYSTALS, families=TOYS, folder=tmp_path / "cache")
    made.write(tmp_path)
    document = json.loads((tmp_path / "judge.json").read_text(), parse_constant=_no_constant)
    assert document["attempts"]["n"] == attempts.n
    assert document["families"]["against"][0]["value"] == 0 or attempts.n == 1


def _no_constant(name):
    raise AssertionError(f"{name} is no JSON")


def test_what_cannot_be_judged_says_why():
    one = Attempts.of(CRYSTALS[:1])
    with pytest.raises(EvaluationError, match="no attempts"):
        judge(Attempts.of(Crystals.empty()), families=TOYS)
    with pytest.raises(EvaluationError, match=r"no figure can be measured .against: nothing"):
        judge(one, families={"against": against_held_out})
    with pytest.raises(EvaluationError, match="2 crystals that were wanted, and 1"):
        judge(one, families=TOYS, wanted=CRYSTALS[:2])
    with pytest.raises(EvaluationError, match="2 names for 1"):
        judge(one, families=TOYS, ids=["a", "b"])
    with pytest.raises(EvaluationError, match="figures of one name"):
        judge(one, families={"twice": lambda evidence: 2 * sizes(evidence)})
    with pytest.raises(UnknownNameError, match=r"no predictor of 'bandgap'.*'band_gap'"):
        judge(one, families=TOYS, properties=["bandgap"])
    with pytest.raises(EvaluationError, match="held-out"):
        judge(one, families=TOYS, properties=["band_gap"])
    with pytest.raises(EvaluationError, match="seed -1: wanted 0 or more"):
        judge(one, families=TOYS, seed=-1)


def relaxed_as(crystals, n=None):
    """What relaxation gave where nothing moved."""
    m = len(crystals)
    zeros = np.zeros(m)
    failures = tuple(Failure(i, "element not known") for i in range(m, n or m))
    flags = np.ones(m, bool)
    columns = (zeros, zeros, zeros, zeros, np.zeros(m, int), flags, zeros, zeros)
    return Relaxed("toy", n or m, np.arange(m), crystals, *columns, failures, {})


def test_relaxed_crystals_are_those_of_the_attempts():
    attempts = Attempts.of(CRYSTALS[:4], [Failure(4, "no cell")])
    made = judge(attempts, relaxed=relaxed_as(CRYSTALS[:3], 4), families=TOYS)
    assert made.document()["relaxed"] == {
        "potential": "toy",
        "n": 4,
        "n_with_energy": 3,
        "n_converged": 3,
        "settings": {},
    }
    with pytest.raises(EvaluationError, match=r"3 relaxed crystals .* for 4 crystals"):
        judge(attempts, relaxed=relaxed_as(CRYSTALS[:3]), families=TOYS)
    with pytest.raises(EvaluationError, match="other elements"):
        judge(attempts, relaxed=relaxed_as(CRYSTALS[1:5]), families=TOYS)


def test_families_by_name(monkeypatch):
    table = {"sizes": f"{__name__}:sizes", "missing": "no_such_module_here:measure"}
    monkeypatch.setattr(judge_figures, "FAMILIES", table)

    def loading(known, name):
        if name == "missing":
            raise MissingExtraError("smact is not installed: pip install 'crystalcodec[judge]'")
        if name not in known:
            raise UnknownNameError(f"no {name!r}")
        return sizes

    monkeypatch.setattr(judge_figures, "load", loading)
    made = judge(Attempts.of(CRYSTALS))
    assert [*made.figures] == ["sizes"]
    assert "pip install" in made.left_out["missing"]
    with pytest.raises(MissingExtraError):
        judge(Attempts.of(CRYSTALS), families=["missing"])
    with pytest.raises(UnknownNameError):
        judge(Attempts.of(CRYSTALS), families=["size"])


def test_predicted_properties_of_both_sides(tmp_path):
    seen = {}

    def family(evidence):
        seen.update(evidence.properties)
        return sizes(evidence)

    attempts = Attempts.of(CRYSTALS[:2], [Failure(1, "no cell")])
    judge(
        attempts,
        held_out=CRYSTALS[:1],
        families={"f": family},
        properties=["formation_energy_per_atom"],
        folder=tmp_path,
    )
    generated, held_out = seen["formation_energy_per_atom"]
    assert np.isnan(generated).tolist() == [False, True, False]
    assert held_out.shape == (1,)
    assert held_out[0] == pytest.approx(generated[0], abs=1e-6)


# Baselines


@pytest.fixture
def made_baselines(monkeypatch):
    """Baselines of crystals that are known; a list of what was made."""
    made = []

    def generated(name, like, n, seed):
        made.append((name, n, seed))
        return like[np.arange(n - 1) % len(like)], [Failure(n - 1, "no place for an atom")]

    monkeypatch.setattr(judge_baselines, "_generated", generated)
    return made


def test_baselines_stand_beside(made_baselines, tmp_path):
    train, held_out = CRYSTALS[:10], CRYSTALS[20:40]
    options = {
        "train": train,
        "held_out": held_out,
        "families": TOYS,
        "baselines": True,
        "seed": 7,
        "folder": tmp_path / "cache",
    }
    made = judge(Attempts.of(CRYSTALS[10:16]), **options)
    assert [one.name for one in made.baselines] == [HELD_OUT, RANDOM, SUBSTITUTED]
    assert made_baselines == [(RANDOM, 6, 7), (SUBSTITUTED, 6, 7)]
    known = [one.find(made.figure("known")) for one in made.baselines]
    # The sample of held-out crystals is judged against the others: it holds none of them.
    assert [one.value for one in known] == [0, 0, 0]
    assert [one.n for one in made.baselines] == [6, 6, 6]
    assert made.baselines[0].note == "6 of the 20 held-out crystals, against the other 14"
    volume = made.baselines[1].find(made.figure("volume_per_atom"))
    assert volume.value == volumes(train[:5]).mean()
    assert len(volume.of_each) == 6
    assert np.isnan(volume.of_each[5])
    again = judge(Attempts.of(CRYSTALS[16:22]), **options)
    assert len(made_baselines) == 2, "kept, whatever is judged beside"
    for one, other in zip(made.baselines, again.baselines, strict=True):
        assert one.note == other.note
        for figures, others in zip(one.figures.values(), other.figures.values(), strict=True):
            assert [f.document() for f in figures] == [f.document() for f in others]
            assert all(
                np.array_equal(f.of_each, g.of_each, equal_nan=True)
                for f, g in zip(figures, others, strict=True)
            )


@pytest.mark.parametrize(
    "other", [{"seed": 8}, {"train": CRYSTALS[:9]}, {"baseline_size": 5}], ids=str
)
def test_baselines_of_other_settings_are_made_anew(made_baselines, tmp_path, other):
    options = {"train": CRYSTALS[:10], "families": TOYS, "baselines": True, "folder": tmp_path}
    judge(Attempts.of(CRYSTALS[10:16]), **options)
    judge(Attempts.of(CRYSTALS[10:16]), **{**options, **other})
    assert len(made_baselines) == 4


def test_baselines_that_there_is_no_evidence_for(made_baselines):
    alone = judge(Attempts.of(CRYSTALS[:4]), families=TOYS, baselines=True)
    assert alone.baselines == ()
    held_out = judge(
        Attempts.of(CRYSTALS[:4]), held_out=CRYSTALS[:1], families=TOYS, baselines=True
    )
    assert [one.name for one in held_out.baselines] == [RANDOM, SUBSTITUTED]


# Files


@pytest.fixture
def judged(made_baselines):
    attempts = Attempts.of(CRYSTALS[:30], [Failure(2, "no <cell>", "a & b", "x.cif")])
    names = [f"<b>{i}</b>" for i in range(30)] + ["odd \udc80 name"]
    return judge(
        attempts,
        train=CRYSTALS[30:],
        held_out=CRYSTALS[20:],
        families=TOYS,
        baselines=True,
        ids=names,
        about={"title": "<i>all</i>", "command": ["crystalcodec", "judge", "a b"]},
    )


def test_the_document_says_everything(judged, tmp_path):
    judged.write(tmp_path)
    document = json.loads((tmp_path / "judge.json").read_text(), parse_constant=_no_constant)
    assert document["attempts"] == {
        "n": 31,
        "n_crystals": 30,
        "content_hash": CRYSTALS[:30].content_hash,
    }
    assert document["train"]["content_hash"] == CRYSTALS[30:].content_hash
    assert document["failures"] == {"no <cell>": 1}
    assert document["seed"] == 0
    interval = document["interval"]
    assert (interval["coverage"], interval["n_resamples"]) == (0.95, 200)
    assert "moved by what repetitions do" in interval["definition"]
    assert {"python", "numpy", "crystalcodec"} <= document["versions"].keys()
    figure = document["families"]["sizes"][0]
    assert figure["definition"] == "Mean volume per atom."
    assert figure["value"] == volumes(CRYSTALS[:30]).mean()
    assert figure["n"] == 31
    assert figure["unit"] == "Å³"
    assert [*document["baselines"]] == [HELD_OUT, RANDOM, SUBSTITUTED]
    assert document["baselines"][RANDOM]["families"]["sizes"][0]["name"] == "volume_per_atom"


def test_tables(judged, tmp_path):
    judged.write(tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "judge.csv").read_text())))
    assert [row["figure"] for row in rows] == ["volume_per_atom", "structural_validity", "known"]
    assert float(rows[0]["value"]) == volumes(CRYSTALS[:30]).mean()
    assert rows[0]["definition"] == "Mean volume per atom."
    assert float(rows[0]["random"]) == pytest.approx(
        volumes(CRYSTALS[30:][np.arange(30) % 10]).mean()
    )
    text = judged.table().splitlines()
    assert text[0].split() == ["value", "95", "%", "interval", "n", "failures", *_names_of(judged)]
    assert text[1] == "sizes"
    assert text[2].split()[:2] == ["volume_per_atom", "(Å³)"]
    markdown = (tmp_path / "judge.md").read_text().splitlines()
    assert len({line.count("|") for line in markdown}) == 1


def _names_of(judged):
    return [one.name for one in judged.baselines]


def test_the_table_of_attempts(judged, tmp_path):
    judged.write(tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "attempts.csv").read_text())))
    assert len(rows) == 31
    assert rows[2] == {
        "attempt": "2",
        "id": "<b>2</b>",
        "formula": "",
        "volume_per_atom": "",
        "structural_validity": "0",
        "known": "0",
        "reason": "no <cell>",
        "detail": "a & b",
    }
    assert rows[3]["formula"] == CRYSTALS.formulas[2]
    assert float(rows[3]["volume_per_atom"]) == volumes(CRYSTALS)[2]


def test_the_report_holds_all_and_fetches_nothing(judged, tmp_path):
    judged.write(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert not re.findall(r"(?:src|href)=\"?(?!\"?data:)|url\(", page)
    assert "<i>all" not in page
    assert "<b>5</b>" not in page
    assert "&lt;i&gt;all&lt;/i&gt;" in page
    assert "no &lt;cell&gt;" in page
    assert "Mean volume per atom." in page
    assert "crystalcodec judge &#x27;a b&#x27;" in page
    from PIL import Image

    pictures = re.findall(r"data:image/png;base64,([^\"]+)", page)
    # The funnel, one histogram, 8 of the best and 8 of the worst.
    assert len(pictures) == 18
    for picture in pictures:
        assert Image.open(io.BytesIO(base64.b64decode(picture))).size[0] > 100


def test_best_and_worst_in_their_order(judged, tmp_path):
    judged.write(tmp_path)
    page = (tmp_path / "report.html").read_text()
    best, worst = page.split("<h3>Worst</h3>")
    order = np.argsort(volumes(CRYSTALS[:30]))
    shown = re.findall(r"class=card><img alt=\"([^\"]+)\"", best)
    assert shown == [CRYSTALS.formulas[i] for i in order[:8]]
    assert re.findall(r"class=card><img alt=\"([^\"]+)\"", worst) == [
        CRYSTALS.formulas[i] for i in order[::-1][:8]
    ]


def test_what_is_left_is_counted_stage_by_stage():
    attempts = Attempts.of(CRYSTALS[:5], [Failure(5, "no cell")])

    def flags(name, values):
        return Figure.share(name, "", values)

    def family(evidence):
        return [
            flags("structural_validity", [1, 1, 1, 1, 0, 0]),
            flags("uniqueness", [1, 0, 1, 1, 1, 0]),
            flags("novelty", [1, 1, 1, 0, 1, 0]),
            Figure("novelty_of_pairs", "", 6, lambda positions: 0.0),
        ]

    made = judge(attempts, families={"f": family})
    assert funnel_stages(attempts, made.figures) == [
        ("attempts", 6),
        ("crystals", 5),
        ("structurally valid", 4),
        ("unique", 3),
        ("novel", 2),
    ]


def test_energy_above_the_hull_tells_the_best_first():
    def family(evidence):
        return [
            *sizes(evidence),
            Figure.mean("separation", "", [0.4, 0.9, np.nan, 1.7]),
            Figure.mean("energy_above_hull", "", [0.3, 0.1, np.nan, -0.2]),
        ]

    made = judge(Attempts.of(CRYSTALS[:4]), families={"f": family})
    found = ranking(4, made.figures)
    assert found.figure.name == "energy_above_hull"
    assert found.order.tolist() == [3, 1, 0]
    found = ranking(4, {"f": made.figures["f"][:3]})
    assert found.figure.name == "separation"
    assert found.order.tolist() == [1, 0, 3], "nearest to 1 first"
    found = ranking(4, {"f": made.figures["f"][:2]})
    assert found.figure.name == "volume_per_atom"
    assert found.order.tolist() == np.argsort(volumes(CRYSTALS[:4])).tolist()
    assert ranking(4, {"f": made.figures["f"][1:2]}) is None


def test_histograms_of_the_same_values_are_drawn_once():
    def family(evidence):
        values = np.array([0.5, 1.5, 2.5, np.nan])
        return [
            Figure.mean("wdist_density", "", [0.5, 1.5, np.nan, np.nan]),
            Figure.mean("wdist_density_of_all", "", values),
            Figure.mean("the_same", "", values),
            Figure.mean("other", "", values + 1),
            Figure.share("yes", "", [1, 0, 1, 0]),
        ]

    made = judge(Attempts.of(CRYSTALS[:4]), families={"f": family})
    shown = [figure.name for figure in spread_figures(made.figures)]
    assert shown == ["wdist_density_of_all", "other"]


def test_a_crystal_of_too_many_sites_has_no_picture():
    from crystalcodec.plots.judging import crystal_png

    assert crystal_png(CRYSTALS[0]).startswith(b"\x89PNG")
    assert crystal_png(CRYSTALS[0].supercell(12)) is None


def test_real_crystals_score_as_they_must(tmp_path):
    """Every family of the registry, on prototypes that are training crystals, and on others."""
    crystals = prototypes().crystals[::15]
    train, held_out, fresh = crystals[:60], crystals[60:100], crystals[100:]
    families = [name for name in ("validity", "novelty") if name in FAMILIES]
    options = {"train": train, "held_out": held_out, "families": families}
    copied = judge(Attempts.of(train), **options, folder=tmp_path)
    assert copied.figure("structural_validity").value == 1
    assert copied.figure("novelty").value == 0
    assert copied.figure("composition_novelty").value == 0
    half = judge(Attempts.of(fresh), **options, folder=tmp_path)
    assert half.figure("structural_validity").value == 1
    assert half.figure("novelty").value > 0.8
    stages = dict(funnel_stages(Attempts.of(fresh), half.figures))
    assert stages["crystals"] == len(fresh)
    assert stages["crystals"] >= stages["unique"] >= stages["novel"] > 0
    half.write(tmp_path)
    assert (tmp_path / "report.html").stat().st_size > 50_000


# Reading


@pytest.fixture
def folder(tmp_path):
    """Three crystals as CIF, two of them good, and one of atoms on top of each other."""
    place = tmp_path / "cifs"
    write(CRYSTALS[:2], place, ids=["one", "two"])
    (place / "bad.cif").write_text("no CIF at all")
    overlapping = Crystals.single(np.eye(3) * 4, [[0, 0, 0], [0.001, 0, 0]], [11, 17])
    write(overlapping, place / "close.cif")
    return place


def test_what_cannot_be_read_is_an_attempt(folder):
    given = read_attempts([folder])
    assert given.attempts.n == 4
    assert len(given.attempts.crystals) == 3, "short distances are for the metrics"
    (failure,) = given.attempts.failures
    assert failure.index == 3
    assert failure.source.endswith("bad.cif")
    assert given.ids[:3] == ("close.cif", "one.cif", "two.cif")
    more = read_attempts([folder], n=10).attempts
    assert more.n == 10
    assert more.reasons()["no crystal was given"] == 6
    with pytest.raises(EvaluationError, match="3 attempts, but there are 3 crystals and 1"):
        read_attempts([folder], n=3)
    with pytest.raises(ReadError, match="no such file"):
        read_attempts([folder / "nowhere"])


def test_recorded_failures_of_a_dataset_count(tmp_path):
    path = tmp_path / "generated.parquet"
    metadata = DatasetMetadata(failures={"no cell": 2, "too many sites": 1})
    dataset = Dataset.from_crystals(CRYSTALS[:5])
    Dataset(dataset.crystals, dataset.ids, {}, metadata).write(path)
    given = read_attempts([path])
    assert given.attempts.n == 8
    assert given.attempts.reasons() == {"no cell": 2, "too many sites": 1}
    assert "3 failures" in given.notes[0]
    assert read_attempts([path], recorded=False).attempts.n == 5
    more = read_attempts([path], n=9).attempts
    assert more.reasons() == {"no cell": 2, "too many sites": 1, "no crystal was given": 1}
    # Told how many there were: what was recorded of a larger dataset is not of these.
    fewer = read_attempts([path], n=7)
    assert fewer.attempts.reasons() == {"no crystal was given": 2}
    assert "more than fit" in fewer.notes[0]
    # A list beside the file has the details, and counts once.
    listed = tmp_path / "generated.parquet.failures.csv"
    listed.write_text("source,line,index,reason,detail\nx.npy,,3,no cell,flat\n")
    (failure,) = read_attempts([path]).attempts.failures
    assert (failure.reason, failure.detail) == ("no cell", "flat")


def test_failures_of_a_filtered_dataset_do_not_count(tmp_path):
    path = tmp_path / "some.parquet"
    dataset = Dataset.from_crystals(CRYSTALS[:5])
    metadata = DatasetMetadata(failures={"no cell": 2}, notes={"filtered": [{"kept": 5}]})
    Dataset(dataset.crystals, dataset.ids, {}, metadata).write(path)
    assert read_attempts([path]).attempts.n == 5


def test_known_crystals_must_be_some(folder):
    crystals, unread = read_known([folder])
    assert len(crystals) == 2
    assert sum(unread.values()) == 2
    with pytest.raises(EvaluationError, match="no crystal in"):
        read_known([folder / "bad.cif"])


def test_what_each_should_be_is_told_by_name(tmp_path):
    originals, copies = tmp_path / "originals.parquet", tmp_path / "copies.parquet"
    Dataset.from_crystals(CRYSTALS[:4], ids=list("abcd")).write(originals)
    Dataset.from_crystals(CRYSTALS[[3, 0, 2]], ids=list("dac")).write(copies)
    wanted, given = read_wanted([originals], read_attempts([copies]))
    assert wanted == CRYSTALS[:4]
    assert given.attempts.positions.tolist() == [0, 2, 3]
    assert given.attempts.crystals == CRYSTALS[[0, 2, 3]]
    assert [failure.index for failure in given.attempts.failures] == [1]
    assert given.names == ("a", "c", "d")
    listed = tmp_path / "copies.parquet.failures.csv"
    listed.write_text("source,line,index,reason,detail\nx.npy,,1,no cell,flat\n")
    _, given = read_wanted([originals], read_attempts([copies]))
    assert given.attempts.reasons() == {"no cell": 1}


def test_what_each_should_be_is_told_by_order_or_not_at_all(tmp_path):
    originals, copies = tmp_path / "originals.parquet", tmp_path / "copies.parquet"
    Dataset.from_crystals(CRYSTALS[:3], ids=list("abc")).write(originals)
    Dataset.from_crystals(CRYSTALS[:3], ids=list("xyz")).write(copies)
    wanted, given = read_wanted([originals], read_attempts([copies]))
    assert wanted == given.attempts.crystals
    with pytest.raises(EvaluationError, match="which should be which is not told"):
        read_wanted([originals], read_attempts([copies], n=4))
    Dataset.from_crystals(CRYSTALS[:2], ids=list("xy")).write(copies)
    with pytest.raises(EvaluationError, match="which should be which is not told"):
        read_wanted([originals], read_attempts([copies], n=3))


def test_row_numbers_do_not_tell_which_are_missing(tmp_path):
    """Written without ids, the second of three decoded crystals would stand for the first."""
    originals, copies = tmp_path / "originals.parquet", tmp_path / "copies.parquet"
    Dataset.from_crystals(CRYSTALS[:3]).write(originals)
    Dataset.from_crystals(CRYSTALS[1:3]).write(copies)
    with pytest.raises(EvaluationError, match="row numbers"):
        read_wanted([originals], read_attempts([copies]))
    Dataset.from_crystals(CRYSTALS[1:3], ids=["1", "2"]).write(copies)
    _, given = read_wanted([originals], read_attempts([copies]))
    assert given.attempts.positions.tolist() == [1, 2]
    Dataset.from_crystals(CRYSTALS[:3]).write(copies)
    _, given = read_wanted([originals], read_attempts([copies]))
    assert given.attempts.positions.tolist() == [0, 1, 2]


def test_a_dataset_of_no_rows_is_no_attempt_itself(tmp_path):
    path = tmp_path / "decoded.parquet"
    Dataset.from_crystals(Crystals.empty()).write(path)
    with pytest.raises(EvaluationError, match="nothing to judge"):
        read_attempts([path])
    assert read_attempts([path], n=5).attempts.reasons() == {"no crystal was given": 5}
    listed = tmp_path / "decoded.parquet.failures.csv"
    listed.write_text("source,line,index,reason,detail\nx.npy,,0,no cell,\nx.npy,,1,no cell,\n")
    assert read_attempts([path]).attempts.n == 2
    empty = tmp_path / "empty.cif"
    empty.write_text("")
    assert read_attempts([empty]).attempts.reasons() == {"no crystal in file": 1}


def test_ids_are_told_whole(tmp_path):
    path = tmp_path / "made12.parquet"
    Dataset.from_crystals(CRYSTALS[:3], ids=["1", "2", "b"]).write(path)
    assert read_attempts([path]).ids == (
        "made12.parquet!/row 0: 1",
        "made12.parquet!/row 1: 2",
        "made12.parquet!/row 2: b",
    )


# The command


@pytest.fixture
def command(monkeypatch):
    """Runs ``judge`` with the toy families in place of the registry's."""
    app = typer.Typer()
    app.command()(judge_command)
    monkeypatch.setattr(judge_figures, "FAMILIES", dict.fromkeys(TOYS, ""))
    real = judge_figures.load

    def loading(table, name):
        return TOYS[name] if name in TOYS else real(table, name)

    monkeypatch.setattr(judge_figures, "load", loading)

    def run(*arguments):
        return CliRunner().invoke(app, [*map(str, arguments)])

    return run


def test_the_command_judges_files(command, folder, tmp_path, made_baselines):
    Dataset.from_crystals(CRYSTALS[10:]).write(tmp_path / "train.parquet")
    out = tmp_path / "out"
    options = ["--against", tmp_path / "train.parquet", "--attempts", 6, "-j", 1, "-o", out]
    done = command(folder, *options, "--baselines")
    assert done.exit_code == 0, done.output
    assert "structural_validity" in done.stdout
    assert f"report: {out / 'report.html'}" in done.stdout
    assert "against: nothing to measure" in done.stderr
    assert "\r" not in done.stderr, "no bar in a pipe"
    document = json.loads((out / "judge.json").read_text())
    assert document["attempts"]["n"] == 6
    assert document["files"]["train"] == [str(tmp_path / "train.parquet")]
    assert [*document["baselines"]] == [RANDOM, SUBSTITUTED]
    quiet = command(folder, *options, "-q")
    assert quiet.stderr == ""


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--families", "size"], "did you mean 'sizes'"),
        (["--families", "against"], "no figure can be measured"),
        (["--attempts", "2"], "wanted at least 4"),
        (["--against", "nowhere.parquet"], "no such file"),
        (["--properties", "bandgap", "--held-out", "x"], "did you mean 'band_gap'"),
        (["--properties", "band_gap"], "--held-out"),
        (["--hull", "hull.parquet"], "--relax"),
        (["--relax", "--relaxed", "x"], "give one of them"),
        (["--seed", "-1"], "greater than or equal to 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_bad_input_ends_in_one_line(command, folder, tmp_path, options, says):
    done = command(folder, *options, "-q", "-o", tmp_path / "out")
    assert done.exit_code in (1, 2)
    told = done.stderr if done.exit_code == 2 else str(done.exception)
    if done.exit_code == 1:  # what main() turns into a line and 2
        assert isinstance(done.exception, ValueError)
        assert type(done.exception).__module__.startswith("crystalcodec")
    assert says in " ".join(told.replace("│", " ").split())


def test_arrays_keep_their_names(tmp_path):
    path = tmp_path / "a.npz"
    save_arrays(path, {})
    assert load_arrays(path) == {}
    assert load_arrays(tmp_path / "none.npz") is None
