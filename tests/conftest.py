"""What holds for all tests: none fails for the time that it took."""

from hypothesis import settings

settings.register_profile("echo", deadline=None)
settings.load_profile("echo")
