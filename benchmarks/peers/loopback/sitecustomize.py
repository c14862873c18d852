"""Put on the path of every peer: a name or an address beyond this machine is refused at once.

Telemetry is switched off by each peer's own setting; this makes sure that nothing else leaves either.
"""

import socket

_look_up, _connect, _connect_ex = socket.getaddrinfo, socket.socket.connect, socket.socket.connect_ex
HERE = ("127.", "::1", "localhost", "0.0.0.0")


def _is_here(host):
    name = host.decode() if isinstance(host, bytes) else host
    return not name or str(name).startswith(HERE)


def getaddrinfo(host, *more, **named):
    if not _is_here(host):
        raise socket.gaierror(socket.EAI_NONAME, f"{host}: not on this machine")
    return _look_up(host, *more, **named)


def _refused(address):
    return isinstance(address, tuple) and not _is_here(address[0])


def connect(self, address):
    if _refused(address):
        raise ConnectionRefusedError(f"{address[0]}: not on this machine")
    return _connect(self, address)


def connect_ex(self, address):
    if _refused(address):
        return 111
    return _connect_ex(self, address)


socket.getaddrinfo = getaddrinfo
socket.socket.connect = connect
socket.socket.connect_ex = connect_ex
