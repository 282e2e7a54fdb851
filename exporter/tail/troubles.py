"""Logs and counts what keeps the files of a source from being read, each trouble once as long as it lasts."""

import logging
from collections import Counter

_log = logging.getLogger(__name__)

#: What an operator can do, by reason.
_REMEDIES = {
    "permission": "give the exporter's user the right to read it (a group, or setfacl); no restart is needed",
    "not_a_file": "name a log file: folders, FIFOs, sockets and devices are refused",
    "packed": "nginx packs this log, so it cannot be tailed: remove gzip from its access_log",
    "too_many_files": "raise the limit on open files (ulimit -n, systemd's LimitNOFILE); no log above it is read",
    "parser": "it breaks one of the laws in docs/develop.md; its lines wait for a better one",
}


class Troubles:
    """`errors` are counted by reason, which is a trouble up to its first colon."""

    def __init__(self, source: str, errors: Counter[str]) -> None:
        self._source, self._errors = source, errors
        self._present: dict[str, str] = {}

    def note(self, path: str, trouble: str) -> None:
        """The trouble with a path now, "" for none."""
        if trouble != self._present.get(path, ""):
            self._present[path] = trouble
            self.report(path, trouble)

    def forget(self, path: str) -> None:
        self._present.pop(path, None)

    def report(self, path: str, trouble: str) -> None:
        """A missing file is no error: it is waited for."""
        if trouble == "missing":
            _log.info("waiting for a file: source=%s path=%s", self._source, path)
        elif trouble:
            reason = trouble.partition(":")[0]
            self._errors[reason] += 1
            remedy = _REMEDIES.get(reason, "it is tried again")
            _log.warning("cannot be read: source=%s path=%s reason=%s; %s", self._source, path, trouble, remedy)
        else:
            _log.info("is read: source=%s path=%s", self._source, path)
