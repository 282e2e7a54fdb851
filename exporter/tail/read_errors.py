"""Logs and counts why files of a source cannot be read, each error once as long as it lasts."""

import logging
from collections.abc import Callable

from exporter.tail.encoding import encoding_of, remedy
from exporter.tail.position import Window

_log = logging.getLogger(__name__)

#: What an operator can do about each reason.
_REMEDIES = {
    "permission": "give the exporter's user the right to read it (a group, or setfacl); no restart is needed",
    "not_a_file": "name a log file: folders, FIFOs, sockets and devices are refused",
    "packed": "nginx packs this log, so it cannot be tailed: remove gzip from its access_log",
    "too_many_files": "raise the limit on open files (ulimit -n, systemd's LimitNOFILE); no log above it is read",
    "parser": "the parser breaks one of the laws in docs/develop.md; the file is not read until the parser is fixed",
}


class ReadErrors:
    """Counts the errors of one source by reason: the text of an error up to its first colon.

    `count` gets the reason of each error.
    """

    def __init__(self, source: str, count: Callable[[str], None]) -> None:
        self._source, self._count = source, count
        self._present: dict[str, str] = {}
        self._encoded: set[str] = set()

    def update(self, path: str, error: str) -> None:
        """Set the present error of a path, "" for none. Report it if it has changed."""
        if error != self._present.get(path, ""):
            self._present[path] = error
            self.report(path, error)

    def forget(self, path: str) -> None:
        self._present.pop(path, None)

    def check_encoding(self, path: str, window: Window) -> None:
        """Report once that a file is not UTF-8. Its lines are unparsed."""
        encoding = encoding_of(window.data, window.position.offset)
        if not window.position.offset and not encoding:
            self._encoded.discard(path)
        if encoding and path not in self._encoded:
            self._encoded.add(path)
            self._count("encoding")
            _log.warning("is %s: source=%s path=%s; %s", encoding, self._source, path, remedy(encoding))

    def report(self, path: str, error: str) -> None:
        """Log and count an error. A missing file is not counted: it may appear later."""
        if error == "missing":
            _log.info("waiting for a file: source=%s path=%s", self._source, path)
        elif error:
            reason = error.partition(":")[0]
            self._count(reason)
            remedy = _REMEDIES.get(reason, "the exporter keeps trying")
            _log.warning("cannot be read: source=%s path=%s reason=%s; %s", self._source, path, error, remedy)
        else:
            _log.info("is read: source=%s path=%s", self._source, path)
