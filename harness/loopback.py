"""Where everything listens: nobody outside of this machine can reach it."""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"

#: Below the ports that systems give to connections and to servers that ask for any: 32768 and more on Linux, 49152 on
#: others. One of those may be given away before the server that it was found for has begun to listen.
PORTS = range(15_000, 32_000)


def free_port() -> int:
    """Return a TCP port that nobody uses at the moment. By chance, so that two who look at once find two."""
    chance = random.SystemRandom()
    while True:
        port = chance.choice(PORTS)
        with socket.socket() as probe:
            # A server that listens does so over what is left of an earlier one's connections, too.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
