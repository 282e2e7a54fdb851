"""Why logs cannot be read."""


class InputError(Exception):
    """An input cannot be read. The message is one sentence: which input, and why."""


class WorkersError(Exception):
    """The processes that parse have failed, so there is no result. The message is one sentence: why, and what to do."""
