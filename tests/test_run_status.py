"""What is told of a run whose machine had its clock set back."""

from pathlib import Path

from smile_async.engine.ledger import WIDTHS, Ledger
from smile_async.run_folder import read_status
from smile_async.testing import run_virtual


def test_what_lies_in_the_future_is_no_rate_of_the_last_minute(tmp_path: Path) -> None:
    """Of four replies, sent at 900, 970, 980 and 4,600, two fall into the minute before 1,000."""

    async def main() -> None:
        ledger = Ledger.open(tmp_path, {}, threaded=False)
        rest = [""] * (WIDTHS["attempts"] - 11)
        for number, sent_at in enumerate((900.0, 970.0, 980.0, 4_600.0)):
            ledger.write([("attempts", (number, number, sent_at, 1.0, 1, 0, "accepted", None, 30, 20, 0.0, *rest))])
        await ledger.close()

    run_virtual(main())
    status = read_status(tmp_path, now=1_000.0)

    assert (status.requests_per_minute, status.tokens_per_minute) == (2.0, 100.0)
