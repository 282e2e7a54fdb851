"""The logs that are named to `init`, each with the options of its `[[source]]`."""

import os
from collections.abc import Iterable

from exporter.advice.doctor import read_end
from exporter.advice.found import FoundLog, UnusableLog
from exporter.replay.detect import Guess, detect, guesses, several_services, unrecognised
from exporter.replay.errors import InputError

#: Dify's api and worker write files of the same name into folders of these names.
_FOLDERS = ("api", "worker", "worker_beat", "plugin_daemon")


def named_logs(files: Iterable[str]) -> tuple[list[FoundLog], list[UnusableLog]]:
    """The logs with these paths, detected as `replay` detects them, and those that cannot be tailed."""
    found, unusable = [], []
    for file in files:
        path = os.path.abspath(file)
        try:
            found.append(_found(path))
        except InputError as error:
            why = str(error).removeprefix(f"{path}: ")
            unusable.append(UnusableLog(file, "named on the command line", why, path))
    return found, unusable


def _found(path: str) -> FoundLog:
    """Raises InputError for a log that cannot be tailed or that no parser fits."""
    sample = read_end(path)
    if (detected := detect(sample, guesses())) is None:
        raise InputError(
            f"{path}: {unrecognised(sample) if sample.strip() else 'is empty, so its format is not known'}"
        )
    guess, _ = detected
    origin = "named on the command line"
    services = several_services(guess.parser, sample)
    return FoundLog(_name(path, guess), path, guess.keys, f"{origin}; it {services}" if services else origin)


def _name(path: str, guess: Guess) -> str:
    folder = os.path.basename(os.path.dirname(path))
    if folder in _FOLDERS:
        return folder.replace("_", "-")
    if guess.name == "regex":
        return "gateway"
    return "nginx-error" if guess.options.get("format") == "error" else guess.name
