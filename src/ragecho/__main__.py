"""`python -m ragecho` is the command `ragecho`."""

from ragecho.cli.main import main

main()
