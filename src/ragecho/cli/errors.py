"""Failures of the command line. Each becomes one line on stderr that names the fix, never a traceback."""


class CliError(Exception):
    """A failure that a person can act on; the command ends with `exit_code`."""

    exit_code = 1


class BadUse(CliError):
    """The command was called wrongly."""

    exit_code = 2
