"""A simulated OpenAI-compatible endpoint: latency, limits and faults by seed; in-process and over HTTP."""

from smile_async.simulate.endpoint import Endpoint
from smile_async.simulate.process import run_server, serve
from smile_async.simulate.provider import SimulatedProvider
from smile_async.simulate.server import SimulatorServer
from smile_async.simulate.settings import Breach, Fault, Latency, LimitSettings, SimulatorSettings

__all__ = [
    "Breach",
    "Endpoint",
    "Fault",
    "Latency",
    "LimitSettings",
    "SimulatedProvider",
    "SimulatorServer",
    "SimulatorSettings",
    "run_server",
    "serve",
]
