"""CDVAE's composition check as published, in a process of its own, so that SMACT may be another.

Reads a JSON list of [symbols, amounts] from stdin; writes verdicts, processor time and version.

    PYTHONPATH=/path/to/unpacked/SMACT-2.2.1 python benchmarks/validity_peer.py < compositions.json
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from functools import cache

import smact
from smact.screening import pauling_test


@cache
def element(symbol: str) -> smact.Element:
    return smact.Element(symbol)


def passes(symbols: list[str], amounts: list[int]) -> bool:
    if len(symbols) == 1 or all(symbol in smact.metals for symbol in symbols):
        return True
    elements = [element(symbol) for symbol in symbols]
    values = [one.pauling_eneg for one in elements]
    found = False
    # As there, all combinations are gone through, also after one has passed.
    for states in itertools.product(*(one.oxidation_states for one in elements)):
        neutral, _ = smact.neutral_ratios(
            states, stoichs=[(amount,) for amount in amounts], threshold=max(amounts)
        )
        if neutral:
            try:
                found |= bool(pauling_test(states, values))
            except TypeError:
                found = True
    return found


def main() -> None:
    compositions = json.load(sys.stdin)
    start = time.process_time()
    valid = [passes(symbols, amounts) for symbols, amounts in compositions]
    seconds = time.process_time() - start
    json.dump({"valid": valid, "seconds": seconds, "home": smact.__file__}, sys.stdout)


if __name__ == "__main__":
    main()
