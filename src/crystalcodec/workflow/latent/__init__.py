"""What can be done with the codes of a generator: map, interpolate, perturb, graph.

Everything works on any generator that has a code for each crystal
(:class:`~crystalcodec.generators.base.LatentGenerator`).
"""

from crystalcodec.workflow.latent.codes import (
    Codes,
    LatentError,
    decode_codes,
    encode_crystals,
    latent_of,
    open_latent,
    predicted_values,
    reconstruct,
)
from crystalcodec.workflow.latent.graphs import LatentGraph, choose_parents, latent_graph
from crystalcodec.workflow.latent.maps import LatentMap, latent_map
from crystalcodec.workflow.latent.moves import (
    Children,
    Path,
    codes_between,
    interpolate,
    perturb,
)
from crystalcodec.workflow.latent.windows import Window

__all__ = [
    "Children",
    "Codes",
    "LatentError",
    "LatentGraph",
    "LatentMap",
    "Path",
    "Window",
    "choose_parents",
    "codes_between",
    "decode_codes",
    "encode_crystals",
    "interpolate",
    "latent_graph",
    "latent_map",
    "latent_of",
    "open_latent",
    "perturb",
    "predicted_values",
    "reconstruct",
]
