"""Judging: figures and their tables are right, nothing is computed twice, kills do no harm."""

from __future__ import annotations

import base64
import csv
import io
import json
import re

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from crystalcodec import prototypes
from crystalcodec.cli.judge import judge as judge_command
from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset
from crystalcodec.evaluation.base import Attempts, EvaluationError, Evidence, Figure
from crystalcodec.failures import Failure
from crystalcodec.registry import FAMILIES, MissingExtraError, UnknownNameError
from crystalcodec.relaxation.base import Relaxed
from crystalcodec.workflow import judge_baselines, judge_figures
from crystalcodec.workflow.judge_baselines import HELD_OUT, RANDOM, SUBSTITUTED
from crystalcodec.workflow.judge_pages import funnel_stages, ranking, spread_figures
from crystalcodec.workflow.judge_store import crystal_keys
from crystalcodec.workflow.judging import judge

pytestmark = pytest.mark.pictures

CRYSTALS = prototypes().crystals[:40]


def volumes(crystals):
    return crystals.volumes / crystals.n_sites


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


def test_the_command_judges_files(command, cifs, tmp_path, made_baselines):
    Dataset.from_crystals(CRYSTALS[10:]).write(tmp_path / "train.parquet")
    out = tmp_path / "out"
    options = ["--against", tmp_path / "train.parquet", "--attempts", 6, "-j", 1, "-o", out]
    done = command(cifs, *options, "--baselines")
    assert done.exit_code == 0, done.output
    assert "structural_validity" in done.stdout
    assert f"report: {out / 'report.html'}" in done.stdout
    assert "against: nothing to measure" in done.stderr
    assert "\r" not in done.stderr, "no bar in a pipe"
    document = json.loads((out / "judge.json").read_text())
    assert document["attempts"]["n"] == 6
    assert document["files"]["train"] == [str(tmp_path / "train.parquet")]
    assert [*document["baselines"]] == [RANDOM, SUBSTITUTED]
    quiet = command(cifs, *options, "-q")
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
def test_bad_input_ends_in_one_line(command, cifs, tmp_path, options, says):
    done = command(cifs, *options, "-q", "-o", tmp_path / "out")
    assert done.exit_code in (1, 2)
    told = done.stderr if done.exit_code == 2 else str(done.exception)
    if done.exit_code == 1:  # what main() turns into a line and 2
        assert isinstance(done.exception, ValueError)
        assert type(done.exception).__module__.startswith("crystalcodec")
    assert says in " ".join(told.replace("│", " ").split())
