"""Attempts, figures and evidence: what every share counts over."""

from __future__ import annotations

from operator import attrgetter

import numpy as np
import pytest

from crystalcodec import Crystals, Failure, prototypes
from crystalcodec.evaluation.base import Attempts, EvaluationError, Evidence, Figure

THREE = prototypes().crystals[:3]


def test_attempts_put_crystals_and_failures_in_their_order():
    attempts = Attempts.of(THREE, [Failure(1, "no cell"), Failure(4, "no cell")])
    assert attempts.n == 5
    assert attempts.positions.tolist() == [0, 2, 3]
    assert attempts.reasons() == {"no cell": 2}
    assert attempts.spread([7, 8, 9], -1).tolist() == [7, -1, 8, 9, -1]
    assert attempts.spread(np.ones((3, 2)), np.nan).shape == (5, 2)


def test_attempts_of_nothing():
    assert Attempts.of(Crystals.empty()).n == 0
    failed = Attempts.of(Crystals.empty(), [Failure(0, "no cell")])
    assert failed.n == 1
    assert failed.spread(np.zeros(0)).tolist() == [0]


@pytest.mark.parametrize(
    ("positions", "n", "failures", "says"),
    [
        ([0, 1], 3, (), "2 positions of 3 crystals"),
        ([0, 1, 2], 4, (), "4 attempts, 3 crystals and 0 failures"),
        ([0, 1, 2], 3, (Failure(2, "x"),), "each attempt once"),
        ([0, 1, 1], 3, (), "each attempt once"),
        ([2, 1, 0], 3, (), "do not rise"),
    ],
)
def test_attempts_that_do_not_add_up(positions, n, failures, says):
    with pytest.raises(EvaluationError, match=says):
        Attempts(THREE, np.array(positions), n, failures)


def test_a_failure_beyond_the_attempts():
    with pytest.raises(EvaluationError, match="beyond the 4 attempts: 9"):
        Attempts.of(THREE, [Failure(9, "x")])


def test_a_share_and_its_interval():
    hits = np.arange(100) < 80
    figure = Figure.share("valid", "share of the valid", hits)
    assert figure.value == 0.8
    low, high = figure.interval()
    # A binomial share of 100: 0.8 ± 1.96 · 0.04.
    assert abs(low - 0.72) < 0.03
    assert abs(high - 0.88) < 0.03
    assert figure.interval() == (low, high)
    assert figure.interval(seed=1) != (low, high)


def test_a_mean_leaves_out_what_is_not_there():
    figure = Figure.mean("energy", "mean energy", [1.0, np.nan, 3.0], unit="eV")
    assert figure.value == 2.0
    assert figure.n == 3
    nothing = Figure.mean("energy", "mean energy", [np.nan, np.nan])
    assert np.isnan(nothing.value)
    assert all(np.isnan(nothing.interval()))


def test_a_figure_of_no_attempts():
    figure = Figure.share("valid", "share of the valid", [])
    assert np.isnan(figure.value)
    assert all(np.isnan(figure.interval()))


# Other processes cannot import this file, but they can have this.
volumes = attrgetter("volumes")


@pytest.mark.parametrize("jobs", [1, 2])
def test_rows_of_each_crystal(jobs):
    crystals = Crystals.concatenate([prototypes().crystals[:50]] * 3)
    told = []
    evidence = Evidence(Attempts.of(crystals), jobs=jobs, progress=lambda *args: told.append(args))
    rows = evidence.each("volumes", crystals, volumes)
    assert np.array_equal(rows, crystals.volumes)
    assert told[-1] == ("volumes", 150, 150)
    assert evidence.each("volumes", Crystals.empty(), volumes).shape == (0,)
