"""What holds for all tests: none fails for the time that it took, and random ones look longer where there is time."""

from hypothesis import settings

SOAK = "soak"
settings.register_profile("echo", deadline=None)
settings.register_profile(SOAK, deadline=None)
settings.load_profile("echo")


def is_soaking() -> bool:
    """Return whether there is time to try everything: under `make soak`."""
    return settings.get_current_profile_name() == SOAK


def examples(number: int) -> int:
    """Return how many random examples a slow test tries: `number`, or twenty times as many under `make soak`."""
    return number * 20 if is_soaking() else number
