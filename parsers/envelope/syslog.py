"""Remove what syslog daemons and `journalctl` print in front of the lines of a program.

* RFC 3164, also without its priority, as rsyslog, syslog-ng and `journalctl` (`-o short`, `short-precise`) write it:
  `<30>Nov 29 08:00:01 HOST api[17]: LINE`;
* the same with another time: rsyslog's RSYSLOG_FileFormat and `journalctl -o short-iso`, `short-iso-precise`,
  `short-full`, `with-unit`, `short-unix` and `short-monotonic`;
* RFC 5424, also rsyslog's RSYSLOG_SyslogProtocol23Format: `<30>1 TIME HOST api 17 - [id name="value"] LINE`.

rsyslog writes a control character of a message as `#` and three octal digits. These are not decoded, because a client
can also write `#012`: a record is always one line. Only an escaped newline at the end is removed.
"""

import re
from typing import Final

from parsers.envelope.envelope import Envelope
from parsers.envelope.pieces import LinePiece

_PRIORITY = rb"<\d{1,3}>"
_ZONE = rb"(?:Z|[+-]\d\d:?\d\d)"
_TIME = (
    rb"(?:"
    rb"[A-Z][a-z]{2} [ \d]\d (?:\d{4} )?\d\d:\d\d:\d\d(?:\.\d{1,9})?(?: \d{4})?"
    rb"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d{1,9})?" + _ZONE + rb"?"
    rb"|[A-Z][a-z]{2} \d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,9})? [A-Z0-9+:-]{1,10}"
    rb"|\d{9,11}\.\d{6}"
    rb"|\[ {0,12}\d{1,12}\.\d{6}\]"
    rb")"
)
#: A tag ends at a colon, which is not part of it.
_TAG = rb"[^\s:\[]{1,128}(?:\[[^\]\s]{1,64}\])?:(?: |$)"
_HOST = rb"\S{0,254}[^\s:] "

#: RFC 3164, section 4.1. The host or the tag may be missing.
_OLD = re.compile(
    rb"(?:" + _PRIORITY + rb")?" + _TIME + rb" (?:(?:" + _HOST + rb")?" + _TAG + rb"|" + _HOST + rb"(?! ))"
)

#: RFC 5424, section 6. A value ends at its first quote that is not escaped.
_ELEMENT = rb'\[[^\]"= ]{1,64}(?: [^\]"= ]{1,64}="[^"\\]*+(?:\\.[^"\\]*+)*")*\]'
_NEW = re.compile(
    _PRIORITY
    + rb"\d{1,2} \S{1,64} \S{1,255} \S{1,128} \S{1,128} \S{1,64} (?:-|(?:"
    + _ELEMENT
    + rb")+)(?: {1,2}|$)(?:\xef\xbb\xbf)?"
)

#: Messages of `journalctl` itself, and the other lines of a message, which it indents.
_JOURNALCTL_MESSAGE = re.compile(rb"-- .{0,200} --$|-- (?:Logs begin|Journal begins) at | {2}")
_NEWLINES: Final = (b"#012", b"#015#012")


class Syslog(Envelope, frozen=True):
    """Lines of a program that logs to syslog or to the journal."""

    def piece(self, line: bytes) -> LinePiece | None:
        match = _OLD.match(line) or _NEW.match(line)
        if match is None:
            if _JOURNALCTL_MESSAGE.match(line):
                return None
            raise ValueError("not a syslog line")
        content = line[match.end() :]
        return LinePiece(content.removesuffix(_NEWLINES[0]) if content.endswith(b"#012") else content)
