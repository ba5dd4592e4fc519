"""Runs a container through its service's client, and hands process 1 in it what other sandboxes inherit: its descriptors.

Runs outside, as its own process under `python -I -S`: standard library only. It waits at a socket that the container sees,
passes spec and descriptors to who comes first, and then only waits. Asked to end, it removes the container by name, because
killing the client would leave it running. When it dies unasked, process 1 notices that nobody reads its report.
"""

# ruff: noqa: PTH101, PTH123, S103, S302

from __future__ import annotations

import ctypes
import marshal
import os
import select
import signal
import socket
import subprocess
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1
_STARTS_S = 60


def main(spec_fd: int, status_fd: int, settings_file: str) -> None:
    """Run the container that the settings describe, to its end."""
    os.close(status_fd)  # its process 1 is the service's to kill, not ours
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM))
    with open(settings_file, "rb") as file:
        settings: dict[str, Any] = marshal.loads(file.read())
    with os.fdopen(spec_fd, "rb") as file:
        spec = marshal.loads(file.read())
    given = [0, 1, 2, *spec["own"], *spec["fds"]]
    door = socket.socket(socket.AF_UNIX)
    door.bind(settings["socket"])
    os.chmod(settings["socket"], 0o666)  # who builds the container decides whose root knocks; the folder is private
    door.listen(1)
    with open(settings["log"], "wb") as log:
        client = subprocess.Popen(settings["run"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def stop(*_: object) -> None:
        door.close()
        subprocess.run(settings["remove"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        client.kill()

    signal.signal(signal.SIGTERM, stop)
    if _hand_over(door, client, spec, given):
        for fd in given:
            os.close(fd)
        client.wait()
    else:
        client.wait()
        with open(settings["log"], "rb") as said:
            os.write(2, said.read()[-2000:])
    # A second time: the client may have been killed while it was about to start the container.
    subprocess.run(settings["remove"], stdin=subprocess.DEVNULL, capture_output=True, check=False)


def _hand_over(door: socket.socket, client: subprocess.Popen[bytes], spec: dict[str, Any], given: list[int]) -> bool:
    """Give spec and descriptors to the process that knocks; False when the client ended, or took too long, before."""
    ended = os.pidfd_open(client.pid)
    try:
        ready = select.select([door.fileno(), ended], [], [], _STARTS_S)[0]
        if door.fileno() not in ready:
            client.kill()
            return False
        caller = door.accept()[0]
    except (OSError, ValueError):  # closed by `stop`
        return False
    finally:
        os.close(ended)
        door.close()
    with caller:
        socket.send_fds(caller, [b"\0"], given)
        caller.sendall(marshal.dumps(spec))
    return True


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
