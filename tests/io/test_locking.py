"""Lock files: one process at a time, given back however it ends."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
import threading
import time

import pytest

from crystalcodec.io.locking import LOCK, locked

HOLD = """
import sys, time
from crystalcodec.io.locking import locked
with locked(sys.argv[1], ValueError("in use")):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def place(tmp_path):
    return tmp_path / "folder" / LOCK


def test_another_process_is_refused_until_the_first_one_is_killed(place):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(place)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="mine"), locked(place, ValueError("mine")):
            pass
        other.kill()
        other.wait()
    with locked(place, ValueError("mine")):
        assert place.exists()
    assert not place.exists()


def test_an_error_inside_gives_the_lock_back(place):
    with pytest.raises(KeyError), locked(place):
        raise KeyError
    with locked(place, ValueError("in use")):
        pass


def test_without_a_refusal_each_waits_for_the_others(place):
    inside, most, done = [], [], []

    def work():
        for _ in range(20):
            with locked(place):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()
        done.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    # Whoever waits for a file that is removed meanwhile must not go in beside the next one.
    assert (len(done), len(most), max(most)) == (4, 80, 1)


def test_a_file_system_without_locks_is_worked_on_without_them(place, monkeypatch):
    def refuse(*of):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(place, ValueError("in use")):
        entered = True
    assert entered
