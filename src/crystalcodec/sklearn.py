"""Representations as scikit-learn transformers: crystals in, rows of numbers out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure, count_reasons
from crystalcodec.io.foreign import from_ase, from_pymatgen
from crystalcodec.registry import REPRESENTATIONS, did_you_mean, load
from crystalcodec.representations.base import Representation, RepresentationError
from crystalcodec.representations.features import features_of, n_features
from crystalcodec.representations.storage import representation_from

__all__ = ["CrystalEncoder", "EncoderInputError"]

_POLICIES: Final = ("error", "nan")


class EncoderInputError(TypeError):
    """Something that is no list of crystals."""


class CrystalEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A representation of fixed shape as a scikit-learn transformer.

    Works in a ``Pipeline``, in ``GridSearchCV`` (the representation's own parameters are searched
    by their names), in ``cross_val_score`` and after ``set_output(transform="pandas")``.

    Parameters
    ----------
    representation
        A name in the registry, or a representation.
    parameters
        Parameters of the representation by name; they go before those that a representation given
        as an object has.
    refused
        What becomes of crystals that the representation cannot hold: ``"error"``, or ``"nan"``
        for rows of NaN, to be filled by an imputer or left to a model that takes them. No row is
        ever dropped: rows match the targets.
    flat
        The same as ``parameters``: ``CrystalEncoder("ircr", max_sites=40)``.

    Attributes
    ----------
    representation_
        The representation, fitted.
    n_features_out_
        Numbers of a crystal.
    failures_
        Why crystals of the last ``transform`` have rows of NaN; the index is the row.
    n_refused_
        How many those are.

    Raises
    ------
    RepresentationError
        By ``fit``: an unknown parameter, a representation of no fixed shape. By ``transform``: a
        crystal that cannot be held, where ``refused`` is ``"error"``.

    Examples
    --------
    >>> from crystalcodec.testing import sample_crystals
    >>> encoder = CrystalEncoder("ircr", max_sites=20).fit(sample_crystals(4))
    >>> encoder.transform(sample_crystals(4)).shape
    (4, 432)
    >>> encoder.get_feature_names_out()[:2]
    array(['ircr_0_0', 'ircr_0_1'], dtype=object)
    """

    failures_: tuple[Failure, ...]
    n_refused_: int

    def __init__(
        self,
        representation: str | Representation = "ircr",
        *,
        parameters: Mapping[str, Any] | None = None,
        refused: str = "error",
        **flat: Any,
    ) -> None:
        self.representation = representation
        self.parameters = {**(parameters or {}), **flat} if flat else parameters
        self.refused = refused

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters of this transformer; ``deep``: those of the representation as well."""
        own: dict[str, Any] = super().get_params(deep=False)
        if not deep:
            return own
        # A name or a value that no representation has is told by fit, not here.
        known: dict[str, Any] = {}
        if isinstance(self.representation, Representation):
            known = _values(self.representation)
        elif isinstance(self.representation, str) and self.representation in REPRESENTATIONS:
            known = _defaults(load(REPRESENTATIONS, self.representation))
        given = self.parameters if isinstance(self.parameters, Mapping) else {}
        return {**known, **given, **own}

    def set_params(self, **params: Any) -> Self:
        """Set parameters, of this transformer or of the representation, by name.

        Raises
        ------
        RepresentationError
            A name that neither has; nothing is set then.
        """
        own = {name: value for name, value in params.items() if name in _OWN}
        rest = {name: value for name, value in params.items() if name not in _OWN}
        if rest:
            chosen = own.get("representation", self.representation)
            _check_names(chosen, rest)
            before = own.get("parameters", self.parameters)
            own["parameters"] = {**(before or {}), **rest}
        for name, value in own.items():
            setattr(self, name, value)
        return self

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Find the parameters that the representation has to find in crystals, if any.

        Parameters
        ----------
        X
            Crystals, or a list of crystals, pymatgen structures or ASE atoms.
        y
            Not used.
        """
        del y
        if not isinstance(self.refused, str) or self.refused not in _POLICIES:
            raise RepresentationError(
                f"refused={self.refused!r}: wanted {' or '.join(map(repr, _POLICIES))}"
            )
        crystals = _as_crystals(X)
        representation = self._chosen()
        if representation.needs_fit:
            representation = representation.fit(crystals)
        self.n_features_out_ = n_features(representation)
        self.representation_ = representation
        self._forget()
        return self

    def transform(self, X: Any) -> npt.NDArray[np.float32]:  # noqa: N803
        """The arrays of each crystal, flattened and joined.

        Parameters
        ----------
        X
            As of :meth:`fit`; n crystals.

        Returns
        -------
        (n, d) float32
            In the order of :meth:`get_feature_names_out`.
        """
        check_is_fitted(self, "representation_")
        self._forget()
        crystals = _as_crystals(X)
        features = features_of(self.representation_, crystals)
        if not features.failures:
            return features.rows
        if self.refused == "error":
            first = features.failures[0]
            raise RepresentationError(
                f"{self.representation_.name} cannot hold {len(features.failures)} of "
                f"{len(crystals)} crystals ({_counted(features.failures)}); the first is {first}. "
                "Leave them out, give other parameters, or take refused='nan' for rows of NaN"
            )
        self.failures_, self.n_refused_ = features.failures, len(features.failures)
        rows = np.full((len(crystals), self.n_features_out_), np.nan, np.float32)
        rows[features.index] = features.rows
        return rows

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """(d,) a name for each column.

        Parameters
        ----------
        input_features
            Not used: crystals have no columns.
        """
        del input_features
        check_is_fitted(self, "representation_")
        return np.array(self.representation_.feature_names(), object)

    def _chosen(self) -> Representation:
        """The representation that the parameters ask for."""
        if not (self.parameters is None or isinstance(self.parameters, Mapping)):
            raise RepresentationError(
                f"parameters={self.parameters!r}: wanted a dictionary of them by name"
            )
        # Grids are often numpy arrays, whose numbers are no Python numbers.
        given = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in (self.parameters or {}).items()
        }
        if not isinstance(self.representation, Representation):
            return representation_from({"name": self.representation, **given})
        _check_names(self.representation, given)
        changed: Representation = dataclasses.replace(self.representation, **given)  # type: ignore[type-var]
        return changed

    def _forget(self) -> None:
        self.failures_, self.n_refused_ = (), 0

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.transformer_tags.preserves_dtype = []
        return tags


_OWN: Final = ("representation", "parameters", "refused")


def _check_names(representation: Any, parameters: Iterable[str]) -> None:
    """An error for a parameter that the representation does not have."""
    if isinstance(representation, Representation):
        kind: Any = type(representation)
    else:
        kind = load(REPRESENTATIONS, representation)
    known = [*_defaults(kind)]
    for name in parameters:
        if name not in known:
            raise RepresentationError(
                f"{kind.name!r} has no parameter {name!r}{did_you_mean(name, [*known, *_OWN])}"
            )


def _values(representation: Any) -> dict[str, Any]:
    return {
        f.name: getattr(representation, f.name)
        for f in dataclasses.fields(representation)
        if f.init
    }


def _defaults(kind: Any) -> dict[str, Any]:
    """Parameters of a representation with their defaults, None where there is none."""
    found = {}
    for field in dataclasses.fields(kind):
        if field.init:
            made = field.default_factory
            value = None if field.default is dataclasses.MISSING else field.default
            found[field.name] = value if made is dataclasses.MISSING else made()
    return found


def _counted(failures: Sequence[Failure]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in count_reasons(failures).items())


def _as_crystals(given: Any) -> Crystals:
    """One batch of crystals, one for each item."""
    if isinstance(given, Crystals):
        return given
    if _kind(given) is not None:
        raise EncoderInputError(f"one {type(given).__name__}: put it in a list")
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise EncoderInputError(f"{_shown(given)}: {_WANTED}")
    items = list(given)
    kinds = {_kind(item): i for i, item in reversed([*enumerate(items)])}
    if None in kinds:
        i = kinds[None]
        raise EncoderInputError(f"item {i} is {_shown(items[i])}: {_WANTED}")
    if len(kinds) > 1:
        first = min(kinds.values())
        other = max(kinds.values())
        raise EncoderInputError(
            f"item {first} is {_shown(items[first])}, item {other} is {_shown(items[other])}: "
            "wanted all of one kind"
        )
    if "pymatgen" in kinds:
        return from_pymatgen(items)
    if "ase" in kinds:
        return from_ase(items)
    for i, item in enumerate(items):
        if len(item) != 1:
            raise EncoderInputError(
                f"item {i} holds {len(item)} crystals, wanted one in each item of a list: give "
                "Crystals.concatenate(...) of the batches"
            )
    return Crystals.concatenate(items)


_WANTED: Final = (
    "wanted Crystals, or a list of single Crystals, pymatgen structures or ASE atoms; "
    "crystalcodec.read(paths).crystals reads files"
)


def _kind(item: Any) -> str | None:
    if isinstance(item, Crystals):
        return "crystals"
    if hasattr(item, "get_scaled_positions"):
        return "ase"
    return "pymatgen" if hasattr(item, "species_and_occu") else None


def _shown(item: Any) -> str:
    return f"{type(item).__name__} {str(item)[:40]!r}"
