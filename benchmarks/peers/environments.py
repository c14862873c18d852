"""The peers, and an environment of its own for each: a venv with pinned packages under the cache folder.

Pins are the newest that plain pip could install together on 2026-11-24. Nothing may bring in torch: an environment that
needs it is not made (`NO_TORCH`), since its CUDA build would be gigabytes for nothing.
"""

import hashlib
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
NO_TORCH = "torch<0"


@dataclass(frozen=True)
class Peer:
    """`adapter` is a file of `adapters/`, `packages` what its environment holds; none: this project's own is used.

    `share` is the part of the rows that it is given: a slow one shows its rate on fewer. `limits` and `kills` say in
    which comparisons it makes sense: a script that keeps nothing has nothing to go on with.
    """

    name: str
    adapter: str
    packages: tuple[str, ...] = ()
    variant: str = ""
    share: float = 1.0
    speed: bool = True
    limits: bool = True
    kills: bool = False
    note: str = ""

    @property
    def version(self) -> str:
        """Its main package with its version, or where its code stands."""
        return self.packages[0].partition("[")[0] if "[" in self.packages[0] else self.packages[0]


OPENAI = ("openai[aiohttp]==3.54.0", "aiohttp==3.14.5")
LITELLM = ("litellm==1.106.2",)
PEERS = (
    Peer("floor", "floor", limits=False),
    Peer("smile", "smile", kills=True),
    Peer("cookbook", "cookbook", OPENAI, kills=True, note="limits without max_tokens"),
    Peer("cookbook-tuned", "cookbook", OPENAI, variant="tuned", speed=False),
    Peer("openai-aiohttp", "semaphore", OPENAI, variant="aiohttp"),
    Peer("openai", "semaphore", OPENAI, share=0.4),
    Peer("litellm", "litellm_", LITELLM, share=0.4, limits=False),
    Peer("litellm-router", "litellm_", LITELLM, variant="router", share=0.4),
    Peer("litellm-router-enforced", "litellm_", LITELLM, variant="router-enforced", speed=False),
    Peer("curator", "curator_", ("bespokelabs-curator==0.1.31",), share=0.4, kills=True),
    Peer("distilabel", "distilabel_", ("distilabel[openai]==1.5.3", "requests==2.34.2"), share=0.2, kills=True),
    Peer("data-designer", "data_designer_", ("data-designer==0.9.6",), share=0.2, kills=True),
    Peer("inspect_ai", "inspect_", ("inspect-ai==0.3.285", "openai==3.54.0"), share=0.2, kills=True),
)


def default_cache() -> Path:
    """Outside the repository: `XDG_CACHE_HOME`, else `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smile-async" / "peers"


def python_of(packages: tuple[str, ...], cache: Path) -> Path:
    """The interpreter of an environment that holds `packages`, made when it is not there. Raises CalledProcessError."""
    if not packages:
        return Path(sys.executable)
    name = packages[0].partition("[")[0].partition("=")[0]
    digest = hashlib.sha256("\n".join((*packages, sys.version)).encode()).hexdigest()[:8]
    folder = cache / f"{name}-{digest}"
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        print(f"making an environment for {', '.join(packages)} ...", file=sys.stderr, flush=True)
        venv.create(folder, clear=True)
        constraints = folder / "constraints.txt"
        constraints.write_text(NO_TORCH + "\n")
        install(python, "--constraint", str(constraints), *packages)
        ready.touch()
    return python


def install(python: Path, *arguments: str) -> None:
    """With the pip of whoever runs this, where there is one: it is quicker than to install pip each time."""
    own = [sys.executable, "-m", "pip", "--python", str(python)]
    if subprocess.run([*own, "--version"], capture_output=True, check=False).returncode:
        own = [str(python), "-m", "pip"]
        subprocess.run([str(python), "-m", "ensurepip", "--default-pip"], check=True, capture_output=True)
    subprocess.run([*own, "install", "-qq", "--disable-pip-version-check", *arguments], check=True)
