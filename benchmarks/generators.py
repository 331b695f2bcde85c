"""One table of every family of generators: the same samples, judged by the same rules.

    python benchmarks/generators.py --runs site_diffusion=runs/site_diffusion wgan=runs/wgan_ircr \
        -n 1000 --seeds 0 1 2 --relax 200 -o benchmarks/results/generators.json \
        --docs docs/generators.md

Of each run n samples are drawn for each seed, decoded as they are and judged against MP-20: every
attempt counts. The first ``--relax`` attempts are also relaxed with CHGNet and set above its hull.
What was trained several times is given as ``NAME=FOLDER,FOLDER``, a training for each seed.
Held-out, random and substituted crystals, which no generator made, are judged in the same way. What
is done is kept in ``--cache``, a folder a row and seed: the same command goes on after a stop. With
``--known`` rows of an earlier table that are not measured now are taken over, if its protocol is
the same, with the seeds that they have: a table can grow run by run, and on several machines.
"""

from __future__ import annotations

import record  # first: it sets the number of threads

# isort: split
import argparse
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crystalcodec import Dataset
from crystalcodec.crystals import Crystals
from crystalcodec.data.random_crystals import random_crystals
from crystalcodec.data.substitution import substituted_crystals
from crystalcodec.evaluation.base import Attempts, EvaluationError, Figure
from crystalcodec.evaluation.collapse import KINDS, collapse
from crystalcodec.failures import Failure
from crystalcodec.relaxation import Hull
from crystalcodec.workflow.benchmark.documents import (
    digest,
    plain,
    read_document,
    write_document,
)
from crystalcodec.workflow.generating.decoders import with_decoding
from crystalcodec.workflow.generating.runs import open_generator
from crystalcodec.workflow.generating.sampling import sample_arrays
from crystalcodec.workflow.judge_figures import Measured
from crystalcodec.workflow.judge_store import code_version, load_arrays, save_arrays
from crystalcodec.workflow.judging import judge
from crystalcodec.workflow.relaxing import relax_in_parts
from generators_table import means, tables, write_between

POTENTIAL = "chgnet-0.3.0"
BASELINES = ("held-out", "random", "substituted")
FAMILIES = ("validity", "novelty", "distribution")
# Attempts that count in each of several figures: a valid crystal that is known, or a new one of
# atoms on top of each other, is not what a generator is for.
TOGETHER = {
    "valid_unique_novel": ("validity.validity", "novelty.unique_and_novel"),
    "plausible_unique_novel": (
        *("validity.validity", "validity.separation_validity", "novelty.unique_and_novel"),
    ),
}
FIGURES = 2  # kept cells of other figures are measured again
COLUMNS = ("lattices", "frac_coords", "numbers", "offsets")
# What two tables must agree in for their rows to stand side by side. Of a hull the phases: energies
# by one potential differ from machine to machine by rounding, and each row has the hash of its own.
SAME = ("n", "relax", "potential", "hull", "sampling_threads", "train", "held_out", "same")


@dataclass(frozen=True)
class Protocol:
    """What every row is judged by.

    ``relax`` attempts, the first ones, are relaxed; ``hull`` may be None where it is 0.
    """

    train: Crystals
    held_out: Crystals
    n: int
    cache: Path
    relax: int = 0
    hull: Any = None
    jobs: int = 1
    threads: int = 1
    batch_size: int = 250
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    decoding: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawn:
    """Attempts of a row, what they are judged against, and what they took (wall clock)."""

    attempts: Attempts | None
    held_out: Crystals
    about: Mapping[str, Any]


def sampled(name: str, folder: Path, seed: int, protocol: Protocol) -> Drawn:
    """Samples of a run, kept; None for attempts where its arrays are not decoded to crystals."""
    run = with_decoding(open_generator(folder), protocol.decoding.get(name, {}))
    # With the defaults, which may be others at another time.
    settings = {**run.generator.sample_settings(), **protocol.settings.get(name, {})}
    identity = {
        "files": run.record["files"],
        "model": run.record["model"],
        "representation": run.representation.config(),
        "n": protocol.n,
        "seed": seed,
        "settings": settings,
        "batch_size": protocol.batch_size,
        "threads": protocol.threads,
    }
    path = protocol.cache / name / f"samples-{seed}-{digest(identity)}.json"
    about, attempts = read_document(path), _load_attempts(path.with_suffix(".npz"))
    if about is None or (attempts is None and about["decoded"]):
        torch.set_num_threads(protocol.threads)
        began = time.process_time()
        made = sample_arrays(
            run.generator,
            protocol.n,
            seed=seed,
            batch_size=protocol.batch_size,
            settings=settings,
        )
        processor = time.process_time() - began
        torch.set_num_threads(1)
        about = {
            "seconds_per_1000": made.seconds * 1000 / protocol.n,
            "processor_seconds_per_1000": processor * 1000 / protocol.n,
            "threads": protocol.threads,
            "decoded": made.decoded is not None,
            "settings": settings,
            "decoding": dict(protocol.decoding.get(name, {})),
        }
        attempts = None
        if made.decoded is not None:
            attempts = Attempts.of(made.decoded.crystals, made.decoded.failures)
            _save_attempts(path.with_suffix(".npz"), attempts)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_document(path, about)
    return Drawn(attempts, protocol.held_out, about)


def baseline(name: str, seed: int, protocol: Protocol) -> Drawn:
    """Attempts that no generator made; held-out ones are judged against the rest of them."""
    held_out, n = protocol.held_out, protocol.n
    if name == "held-out":
        order = np.random.default_rng(seed).permutation(len(held_out))
        size = min(n, len(held_out) // 2)
        chosen, rest = np.sort(order[:size]), np.sort(order[size:])
        return Drawn(Attempts.of(held_out[chosen]), held_out[rest], {})
    identity = {"like": protocol.train.content_hash, "n": n, "code": code_version()}
    path = protocol.cache / name / f"made-{seed}-{digest(identity)}.npz"
    attempts = _load_attempts(path)
    if attempts is None:
        if name == "random":
            made = random_crystals(n, like=protocol.train, seed=seed)
        else:
            made = substituted_crystals(n, of=protocol.train, seed=seed)
        attempts = Attempts.of(*made)
        _save_attempts(path, attempts)
    return Drawn(attempts, held_out, {})


def cell(name: str, seed: int, drawn: Drawn, protocol: Protocol) -> dict[str, Any]:
    """Everything measured of one row and seed, kept."""
    if drawn.attempts is None:
        return {"seed": seed, **drawn.about, "why": "its arrays are not decoded to crystals"}
    attempts = drawn.attempts
    identity = {
        "attempts": [attempts.crystals.content_hash, attempts.positions.tolist(), attempts.n],
        "train": protocol.train.content_hash,
        "held_out": drawn.held_out.content_hash,
        "relax": protocol.relax,
        "hull": getattr(protocol.hull, "content_hash", None),
        "code": code_version(),
        "figures": FIGURES,
    }
    path = protocol.cache / name / f"cell-{seed}-{digest(identity)}.json"
    kept = read_document(path)
    if kept is None:
        figures, left_out = _judged(attempts, drawn.held_out, protocol)
        found = collapse(
            attempts.crystals,
            drawn.held_out,
            n_attempts=attempts.n,
            seed=seed,
            jobs=protocol.jobs,
        )
        kept = {
            "n": attempts.n,
            "n_crystals": len(attempts.crystals),
            "failures": attempts.reasons(),
            "figures": figures,
            "left_out": left_out,
            "collapse": found.document(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_document(path, kept)
        kept = plain(kept)
    return {"seed": seed, **drawn.about, **kept}


def _judged(
    attempts: Attempts, held_out: Crystals, protocol: Protocol
) -> tuple[dict[str, Any], dict[str, str]]:
    """Figures by name, and why there are no others."""
    options: dict[str, Any] = {
        "train": protocol.train,
        "jobs": protocol.jobs,
        "folder": protocol.cache / "rows",
    }
    figures, left_out = {}, {}
    judgements: list[tuple[Sequence[str], Attempts, dict[str, Any]]] = [
        (FAMILIES, attempts, {**options, "held_out": held_out})
    ]
    if protocol.relax:
        few = first_of(attempts, protocol.relax)
        crystals = few.crystals
        folder = protocol.cache / "relaxed" / crystals.content_hash[:20]
        relaxed = relax_in_parts(crystals, folder, POTENTIAL, jobs=protocol.jobs)
        judgements.append(
            (("stability",), few, {**options, "hull": protocol.hull, "relaxed": relaxed})
        )
    for families, some, given in judgements:
        try:
            judgement = judge(some, families=families, **given)
        except EvaluationError as error:
            left_out["+".join(families)] = str(error)
            continue
        left_out |= dict(judgement.left_out)
        found = {f"{one.family}.{one.name}": one for one in judgement.all()}
        figures |= {name: one.document() for name, one in [*found.items(), *_together(found)]}
    return figures, left_out


def _together(found: Mapping[str, Measured]) -> Iterator[tuple[str, Measured]]:
    """Shares of the attempts that count in each of several shares."""
    for name, of in TOGETHER.items():
        values = [found[one].of_each for one in of if one in found]
        if len(values) == len(of):
            text = f"Share of attempts that count in each of: {', '.join(of)}."
            figure = Figure.share(name, text, np.all(np.array(values) == 1, axis=0))
            yield f"together.{name}", Measured.of("together", figure)


def first_of(attempts: Attempts, n: int) -> Attempts:
    """The first n attempts, with what failed of them."""
    n = min(n, attempts.n)
    kept = attempts.positions < n
    failures = tuple(failure for failure in attempts.failures if failure.index < n)
    crystals = attempts.crystals[np.flatnonzero(kept)]
    return Attempts(crystals, attempts.positions[kept], n, failures)


def row(
    name: str,
    draw: Callable[[int], Drawn],
    seeds: Iterable[int],
    protocol: Protocol,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """A row of the table: every seed, means over them, and where they were measured."""
    cells = [cell(name, seed, draw(seed), protocol) for seed in seeds]
    return {
        "name": name,
        **about,
        "measured": {
            "date": record.today(),
            "machine": record.machine(),
            "hull": getattr(protocol.hull, "content_hash", None),
        },
        "cells": cells,
        "means": means(cells),
    }


def about_runs(folders: Sequence[Path]) -> dict[str, Any]:
    """What the records of trainings tell of their model, and how long one of them took."""
    runs = [open_generator(folder) for folder in folders]
    records = [run.record for run in runs]
    for key in ("model", "representation"):
        if any(one[key] != records[0][key] for one in records):
            raise ValueError(
                f"{', '.join(map(str, folders))} differ in their {key}: trainings of one row are "
                "to differ in nothing but their seed"
            )
    histories = [one.get("history", {}) for one in records]
    seconds = [one["seconds"] for one in histories if "seconds" in one]
    return {
        "folder": ", ".join(map(str, folders)),
        "trainings": len(folders),
        "generator": records[0]["model"]["name"],
        "representation": records[0]["representation"]["name"],
        "model": records[0]["model"],
        "n_parameters": records[0]["n_parameters"],
        "n_train": records[0]["data"]["train"]["n_used"],
        "epochs": histories[0].get("epoch"),
        "training_seconds": sum(seconds) / len(seconds) if seconds else None,
        "versions": records[0]["versions"],
        "conditions": list(runs[0].conditions.names),
    }


def phases(hull: Hull | None) -> dict[str, Any] | None:
    """What a hull is made of, without its energies."""
    if hull is None:
        return None
    return {
        "n": len(hull),
        "phases": digest({"ids": hull.ids.tolist(), "formulas": list(hull.formulas)}),
    }


def terms(seeds: Sequence[int], protocol: Protocol) -> dict[str, Any]:
    """What all rows of a table have in common."""
    return {
        "n": protocol.n,
        "seeds": list(seeds),
        "relax": protocol.relax,
        "potential": POTENTIAL if protocol.relax else None,
        "hull": phases(protocol.hull),
        "jobs": protocol.jobs,
        "sampling_threads": protocol.threads,
        "train": {"n": len(protocol.train), "content_hash": protocol.train.content_hash},
        "held_out": {"n": len(protocol.held_out), "content_hash": protocol.held_out.content_hash},
        "same": dict(KINDS),
    }


def read_known(path: Path, now: Mapping[str, Any]) -> dict[str, Any]:
    """An earlier table; SystemExit where its terms are others."""
    known: dict[str, Any] = json.loads(path.read_text())
    if other := [key for key in SAME if plain(now[key]) != known.get(key)]:
        raise SystemExit(
            f"{path} was measured otherwise: "
            + "; ".join(f"{key} {known.get(key)!r}, now {plain(now[key])!r}" for key in other)
            + ". Measure with the same settings, or without --known."
        )
    return known


def without_hash(definition: str) -> str:
    """A definition without the hash of the hull, which each row has of its own (`SAME`)."""
    return re.sub(r" \(hash [0-9a-f]+\)", "", definition)


def with_known(result: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """The result with the rows of an earlier one that it does not have, those first.

    Raises SystemExit where a figure has another definition now.
    """
    definitions = {name: without_hash(text) for name, text in known["definitions"].items()}
    if other := [
        name
        for name, definition in result["definitions"].items()
        if definitions.setdefault(name, definition) != definition
    ]:
        raise SystemExit(
            f"the known table has other definitions of {', '.join(other)}: measure it anew"
        )
    new = {one["name"]: one for one in result["rows"]}
    told = {"date": known["date"], "machine": known["machine"]}
    rows = [
        new.pop(one["name"], None) or {**one, "measured": one.get("measured", told)}
        for one in known["rows"]
    ]
    rows += new.values()
    made = [one for one in rows if one["name"] not in BASELINES]
    rows = made + [one for one in rows if one["name"] in BASELINES]
    return {**result, "definitions": definitions, "rows": rows}


def measure(
    runs: Mapping[str, Sequence[Path]],
    seeds: Sequence[int],
    protocol: Protocol,
    baselines: bool = True,
) -> dict[str, Any]:
    """All rows; a run that cannot be opened or sampled is a row with the reason."""
    rows = []
    for name, folders in runs.items():
        told = ", ".join(map(str, folders))
        print(f"{name}: {told}", flush=True)
        try:
            folder_of = _folders_of_seeds(folders, seeds)
            rows.append(
                row(
                    name,
                    lambda seed, name=name, of=folder_of: sampled(name, of[seed], seed, protocol),
                    seeds,
                    protocol,
                    about_runs(folders),
                )
            )
        except (ValueError, RuntimeError, OSError) as error:
            rows.append({"name": name, "folder": told, "error": str(error), "means": {}})
    for name in BASELINES if baselines else ():
        print(name, flush=True)
        rows.append(
            row(name, lambda seed, name=name: baseline(name, seed, protocol), seeds, protocol, {})
        )
    definitions: dict[str, str] = {}
    for one in (one for made in rows for one in made.get("cells", ())):
        for name, figure in one.get("figures", {}).items():
            definitions[name] = without_hash(figure.pop("definition"))
    return {**terms(seeds, protocol), "definitions": definitions, "rows": rows}


def _folders_of_seeds(folders: Sequence[Path], seeds: Sequence[int]) -> dict[int, Path]:
    if len(folders) == 1:
        return dict.fromkeys(seeds, folders[0])
    if len(folders) != len(seeds):
        raise ValueError(
            f"{len(folders)} trainings and {len(seeds)} seeds of samples: wanted as many seeds, or "
            "one training"
        )
    return dict(zip(seeds, folders, strict=True))


def _save_attempts(path: Path, attempts: Attempts) -> None:
    arrays = {column: getattr(attempts.crystals, column) for column in COLUMNS}
    arrays["failed"] = np.array([failure.index for failure in attempts.failures], np.int64)
    arrays["reasons"] = np.array([failure.reason for failure in attempts.failures], np.str_)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_arrays(path, arrays)


def _load_attempts(path: Path) -> Attempts | None:
    kept = load_arrays(path)
    if kept is None:
        return None
    failed = zip(kept["failed"].tolist(), kept["reasons"].tolist(), strict=True)
    return Attempts.of(
        Crystals(*(kept[column] for column in COLUMNS)),
        [Failure(index, reason) for index, reason in failed],
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", nargs="+", default=[], metavar="NAME=FOLDER[,FOLDER]")
    parser.add_argument("-n", type=int, default=1000, help="samples of each seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--relax", type=int, default=0, help="attempts that are relaxed")
    parser.add_argument("--jobs", type=int, default=1, help="processes that judge")
    parser.add_argument("--threads", type=int, default=1, help="threads that sample")
    parser.add_argument("--mp20", type=Path, default=Path("runs/mp20"))
    parser.add_argument("--hull", type=Path, help="default: chgnet.hull.parquet beside the data")
    parser.add_argument("--cache", type=Path, default=Path("runs/generators"))
    parser.add_argument("--settings", nargs="+", default=[], metavar="NAME=JSON")
    parser.add_argument("--decoding", nargs="+", default=[], metavar="NAME=JSON")
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument("--known", type=Path, help="earlier table; its other rows are taken over")
    parser.add_argument("-o", "--output", type=Path, default=record.RESULTS / "generators.json")
    parser.add_argument("--docs", type=Path, help="page whose table is replaced")
    given = parser.parse_args(arguments)
    hull = given.hull or given.mp20 / "chgnet.hull.parquet"
    protocol = Protocol(
        train=Dataset.read(given.mp20 / "train.parquet").crystals,
        held_out=Dataset.read(given.mp20 / "val.parquet").crystals,
        n=given.n,
        cache=given.cache,
        relax=given.relax,
        hull=Hull.read(hull) if given.relax else None,
        jobs=given.jobs,
        threads=given.threads,
        settings={name: json.loads(text) for name, text in _pairs(given.settings).items()},
        decoding={name: json.loads(text) for name, text in _pairs(given.decoding).items()},
    )
    runs = {
        name: [Path(folder) for folder in folders.split(",")]
        for name, folders in _pairs(given.runs).items()
    }
    # Read before hours are spent, and before it is written over.
    known = read_known(given.known, terms(given.seeds, protocol)) if given.known else None
    result = measure(runs, given.seeds, protocol, baselines=not given.no_baselines)
    if known:
        result = with_known(result, known)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    record.RESULTS = given.output.parent
    record.record(given.output.stem, plain(result), packages=("torch", "chgnet"))
    text = tables(result)
    given.output.with_suffix(".md").write_text(text)
    if given.docs:
        write_between(given.docs, text)


def _pairs(given: Sequence[str]) -> dict[str, str]:
    pairs = dict(one.partition("=")[::2] for one in given)
    if len(pairs) < len(given) or not all(name and value for name, value in pairs.items()):
        raise SystemExit(f"wanted NAME=VALUE, each name once, got {' '.join(given)}")
    if clash := sorted({*pairs} & {*BASELINES}):
        raise SystemExit(f"{', '.join(clash)} is the name of a baseline: give the run another one")
    return pairs


if __name__ == "__main__":
    main()
