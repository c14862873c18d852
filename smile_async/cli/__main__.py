"""`python -m smile_async.cli`: the same as `smile`."""

from smile_async.cli.app import main

main()
