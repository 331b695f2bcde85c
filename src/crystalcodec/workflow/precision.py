"""Which numbers networks compute with here: what was wished, where the processor does it well."""

from __future__ import annotations

from functools import cache

import torch

__all__ = ["computes_bfloat16", "used_precision"]


@cache
def computes_bfloat16() -> bool:
    """Whether torch has fast kernels for bfloat16 on this processor.

    Without (no AVX-512, as on many laptops) a dense layer in bfloat16 takes about 6 times as long
    as in float32, and a convolution 12 to 32 times (``benchmarks/bfloat16.py``).
    """
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # a torch without these kernels
        return False


def used_precision(wanted: str, device: str) -> str:
    """The precision, as Fabric names it, that is computed in on a device (``cpu``, ``cuda`` ...).

    The one wanted, save that a processor has no float16 arithmetic worth using, and often none of
    bfloat16: there it is ``32-true``, which is more exact.
    """
    if device != "cpu" or wanted == "32-true":
        return wanted
    return wanted if wanted == "bf16-mixed" and computes_bfloat16() else "32-true"
