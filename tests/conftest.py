"""What holds for every test."""

from hypothesis import settings

# No timed assertions: a machine that does other things is slow, not wrong.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
