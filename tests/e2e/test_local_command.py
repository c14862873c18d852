"""`smile local`: serves the embedded model until it is told to stop."""

import json
import signal
import subprocess
import urllib.request

import pytest

from tests.e2e.processes import SMILE, clean_environment

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_lists_its_model_and_ends_with_0_when_told_to(number: signal.Signals) -> None:
    command = [*SMILE, "local", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean_environment()) as child:
        assert child.stdout is not None
        try:
            listening, on, base_url, *_ = child.stdout.readline().split()
            assert (listening, on) == ("listening", "on")
            with urllib.request.urlopen(f"{base_url}/models", timeout=30) as answer:
                assert json.loads(answer.read())["data"]
            child.send_signal(number)
            assert child.wait(20) == 0
        finally:
            child.kill()
