"""How long a new user waits: ``import crystalcodec`` and ``crystalcodec --help``.

python benchmarks/startup.py
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from record import best_of, record

COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "import": [sys.executable, "-c", "import crystalcodec"],
    "help": [str(Path(sys.executable).parent / "crystalcodec"), "--help"],
}


def main() -> None:
    seconds = {
        name: best_of(lambda command=command: subprocess.run(command, capture_output=True), 10)
        for name, command in COMMANDS.items()
    }
    record("startup", {"seconds": seconds, "wanted_seconds": 0.3})


if __name__ == "__main__":
    main()
