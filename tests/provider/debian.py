"""nginx and tinyproxy as Debian packs them, each started in a folder of its own on a free port of the loopback."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

SECONDS = 10.0  # until a server that was started must listen
_SBIN = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))


def missing(name: str, package: str) -> NoReturn:
    """The test skips, and says what to install; in CI it fails."""
    words = f"{name} is not installed: apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(words)
    pytest.skip(words)


def program(name: str, package: str) -> str:
    """Its path; see `missing` for where there is none."""
    return shutil.which(name, path=_SBIN) or missing(name, package)


@dataclass(frozen=True)
class Daemon:
    """A server of another house that listens."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path

    def url(self, scheme: str = "https", host: str = "localhost") -> str:
        return f"{scheme}://{host}:{self.port}/v1/chat/completions"

    @property
    def log(self) -> str:
        return (self.folder / "error.log").read_text("utf-8")

    def reload(self) -> None:
        """nginx only: new workers; the old ones end what they have under way."""
        self.process.send_signal(signal.SIGHUP)

    def kill_workers(self) -> None:
        """nginx only: SIGKILL to each worker; the master starts new ones."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        for child in children.split():
            os.kill(int(child), signal.SIGKILL)

    def kill(self) -> None:
        """With its workers; nothing listens afterwards."""
        self.process.send_signal(signal.SIGSTOP)  # else nginx starts new ones
        self.kill_workers()
        self.process.kill()
        self.process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _listens(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


def _launch(command: list[str], host: str, port: int) -> subprocess.Popen[bytes] | None:
    """None when it ended instead: somebody else had taken the port in between."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + SECONDS
    while process.poll() is None:
        if _listens(host, port):
            return process
        if time.monotonic() > end:
            process.kill()
            break
        time.sleep(0.01)
    process.wait()
    return None


@contextlib.contextmanager
def _running(process: subprocess.Popen[bytes], daemon: Daemon) -> Iterator[Daemon]:
    try:
        yield daemon
    finally:
        process.terminate()
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


_NGINX = """
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
worker_processes 1;
worker_shutdown_timeout 10s;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  client_max_body_size 50m;
  {outside}
  server {{
    listen {address}:{port}{secure};
    {certificate}
    location / {{
      proxy_pass http://127.0.0.1:{upstream};
      proxy_http_version 1.1;
      add_header X-Spoken "$server_protocol $ssl_protocol" always;
      add_header X-Connection $connection always;
      {inside}
    }}
  }}
}}
"""


@contextlib.contextmanager
def nginx(
    folder: Path,
    *,
    upstream: int,
    inside: str = "",
    outside: str = "",
    chain: Path | None = None,
    http2: bool = False,
    address: str = "127.0.0.1",
) -> Iterator[Daemon]:
    """`inside` are directives of the location, `outside` of the http block; `chain` holds key and certificate, for TLS."""
    binary = program("nginx", "nginx")
    folder.mkdir(exist_ok=True)
    values = {
        "user": "user root;" if os.geteuid() == 0 else "",  # else its workers may not enter the folder
        "folder": folder,
        "outside": outside,
        "inside": inside,
        "upstream": upstream,
        "address": address,
        "secure": f" ssl{' http2' if http2 else ''}" if chain else "",
        "certificate": f"ssl_certificate {chain}; ssl_certificate_key {chain};" if chain else "",
    }
    for _ in range(3):
        port = _free_port()
        (folder / "nginx.conf").write_text(_NGINX.format(port=port, **values))
        log = str(folder / "error.log")
        command = [binary, "-p", str(folder), "-e", log, "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
        if process := _launch(command, address.strip("[]"), port):
            with _running(process, Daemon(process, port, folder)) as daemon:
                yield daemon
            return
    pytest.fail((folder / "error.log").read_text("utf-8"))


@contextlib.contextmanager
def tinyproxy(folder: Path, *, user: str = "", password: str = "", port: int = 0) -> Iterator[Daemon]:
    """A forward proxy: CONNECT to any port, plain requests too; with a user, only for who names them. `port` 0: any."""
    binary = program("tinyproxy", "tinyproxy-bin")
    folder.mkdir(exist_ok=True)
    given = port
    for _ in range(3):
        port = given or _free_port()
        lines = [f"Port {port}", "Listen 127.0.0.1", "Allow 127.0.0.1", "MaxClients 1000", "Timeout 60"]
        lines += [f'LogFile "{folder}/error.log"', "LogLevel Connect", f'PidFile "{folder}/pid"']
        lines += [f"BasicAuth {user} {password}"] if user else []
        (folder / "tinyproxy.conf").write_text("\n".join(lines) + "\n")
        if process := _launch([binary, "-d", "-c", str(folder / "tinyproxy.conf")], "127.0.0.1", port):
            with _running(process, Daemon(process, port, folder)) as daemon:
                yield daemon
            return
    pytest.fail("tinyproxy does not start")
