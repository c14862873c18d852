"""What went wrong on the network, said so that a person knows what to do. Pure: words in, `Failure` out.

Which kind it is decides about money: CONNECT is said only when it is certain that no byte of the request left.
"""

from collections.abc import Sequence

from smile_async.engine.job import Failure, FailureKind
from smile_async.provider.masking import masked

KEPT_OF_A_BROKEN_BODY = 65_536  # bytes; enough to see what the server sent

_ADVICE: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("too many open files", "os error 24", "errno 24"),
        "open-files limit reached: raise it (ulimit -n 65536) or lower the concurrency",
    ),
    (
        ("dns error", "name or service not known", "failed to lookup", "getaddrinfo", "nodename nor servname",
         "name resolution", "no address associated"),
        "the name {host} is not known: check base_url and the network",
    ),
    (
        ("certificate is not valid for", "certificate not valid for name", "notvalidforname", "doesn't match"),
        "the TLS certificate of {host} is for another name: check the host in base_url",
    ),
    (
        ("certificate has expired", "certificate expired"),
        "the TLS certificate of {host} has expired: its owner must renew it (or is the clock of this machine wrong?)",
    ),
    (
        ("not yet valid", "not valid yet"),
        "the TLS certificate of {host} is not valid yet: is the clock of this machine right?",
    ),
    (
        ("certificate", "unknownissuer", "certificate_verify_failed"),
        "the TLS certificate of {host} is not trusted: set SSL_CERT_FILE to the PEM file of the server's or proxy's CA",
    ),
    (
        ("alert protocol version", "unsupported protocol", "protocolversion"),
        "{host} speaks no TLS that is safe: it must offer version 1.2 or 1.3",
    ),
    (
        ("corrupt message", "invalidcontenttype", "handshake eof", "wrong version number", "record layer"),
        "{host} does not speak TLS on that port: http:// instead of https:// in base_url?",
    ),
    (
        ("proxy", "tunnel", "socks"),
        "the proxy did not let the connection through: check HTTPS_PROXY, HTTP_PROXY and NO_PROXY",
    ),
    (
        ("connection refused", "all connection attempts failed"),
        "nobody listens at {host}: is the server running, and are the port and any proxy right?",
    ),
    (("unreachable", "no route to host"), "no way to {host}: check the network and any proxy"),
)  # fmt: skip

_MALFORMED = (
    "content-length",
    "transfer-encoding",
    "header line",
    "http header",
    "message head is too large",
    "receive buffer too long",
)
_NO_HTTP = ("http version parsed", "illegal status line")


def not_connected(host: str, words: Sequence[str]) -> Failure:
    """No connection, so nothing was sent and nothing is billed."""
    return Failure(FailureKind.CONNECT, _say(host, words) or f"no connection to {host}{_last(words)}")


def connect_timed_out(host: str, seconds: float) -> Failure:
    return Failure(
        FailureKind.CONNECT,
        f"no connection to {host} within {seconds:g} s: check the address, the network and any proxy",
    )


def died_after_sending(host: str, words: Sequence[str]) -> Failure:
    """The request was on its way: the server may have taken it and may charge for it."""
    return Failure(FailureKind.DISCONNECTED, f"{host} closed the connection without an answer{_last(words)}")


def not_answered(host: str, words: Sequence[str]) -> Failure:
    """What hyper (pyreqwest) or h11 (httpx) said of a request that left and got no status."""
    last = words[-1].lower() if words else ""
    if any(sign in last for sign in _MALFORMED):
        return broken_body(host, f"is not HTTP ({masked(words[-1])})", None)
    return (
        no_http(host, f"is not HTTP ({masked(words[-1])})")
        if any(sign in last for sign in _NO_HTTP)
        else died_after_sending(host, words)
    )


def no_http(host: str, why: str) -> Failure:
    """Something came, but nothing with a status: whoever is there may have taken the request all the same."""
    return Failure(FailureKind.DISCONNECTED, f"what {host} sent {why}: is base_url right?")


def timed_out(host: str, elapsed: float, read: float, total: float) -> Failure:
    """`elapsed` tells which of the two clocks ran out."""
    if elapsed >= total * 0.99:
        told = f"no whole answer from {host} within {total:g} s (the total timeout)"
    else:
        told = f"nothing arrived from {host} for {read:g} s (the read timeout)"
    return Failure(FailureKind.TIMEOUT, told)


def broken_body(host: str, why: str, status: int | None, arrived: bytes = b"") -> Failure:
    return Failure(
        FailureKind.BROKEN_BODY,
        f"the answer of {host} {why}",
        status=status,
        raw=bytes(arrived[:KEPT_OF_A_BROKEN_BODY]) or None,
    )


def _say(host: str, words: Sequence[str]) -> str:
    together = " | ".join(words).lower()
    for signs, advice in _ADVICE:
        if any(sign in together for sign in signs):
            return advice.format(host=host) + _last(words)
    return ""


def _last(words: Sequence[str]) -> str:
    """The innermost cause, in brackets: the operating system's or TLS library's own words."""
    return f" ({masked(words[-1])})" if words and words[-1] else ""
