"""The store of judging: nothing is computed twice, and kills and damage do no harm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from operator import attrgetter

import numpy as np
import pytest

from crystalcodec import prototypes
from crystalcodec.crystals import Crystals
from crystalcodec.evaluation.base import Attempts, EvaluationError
from crystalcodec.failures import Failure
from crystalcodec.workflow import judge_store
from crystalcodec.workflow.judge_store import Store, crystal_keys, load_arrays, save_arrays

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


def rows_of(crystals):
    return np.stack([crystals.n_sites, crystals.volumes], axis=1)


def stored(folder, crystals=CRYSTALS, **more):
    return Store(Attempts.of(crystals), folder=folder, **more)


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


def test_arrays_keep_their_names(tmp_path):
    path = tmp_path / "a.npz"
    save_arrays(path, {})
    assert load_arrays(path) == {}
    assert load_arrays(tmp_path / "none.npz") is None
