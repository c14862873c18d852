"""What may be shown of a foreign message."""

import time

from smile_async.provider.masking import masked


def test_a_servers_message_cannot_command_the_terminal() -> None:
    assert masked("bad \x1b]0;owned\x07 \x1b[2Jrequest\u202e") == "bad ]0;owned [2Jrequest"


def test_masking_takes_time_in_proportion_to_the_length() -> None:
    began = time.perf_counter()
    masked("a" * 4_000)
    assert time.perf_counter() - began < 0.1  # quadratic: 0.19 s
