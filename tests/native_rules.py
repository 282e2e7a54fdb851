"""Writes rules/native/recording.yml, the recording rules for native histograms, from rules/recording.yml.

The recorded names of quantiles and counts stay the same, so alerts and dashboards work with either file.
"""

import re

from tests.rules import ROOT

SOURCE = ROOT / "rules/recording.yml"
TARGET = ROOT / "rules/native/recording.yml"

_HEAD = """\
# The recording rules for native histograms (docs/prometheus3.md): load this file instead of ../recording.yml.
# `make docs` writes it from that file. Do not edit it.
#
"""

#: A count of a classic histogram, its recorded buckets, and the buckets that the exporter exposes.
_CHANGES = (
    (r'sum without \(le\) \((\S+)\{le="\+Inf"\}\)', r"histogram_count(\1)"),
    (r"\b(\w+)_le:(\w+)_bucket:", r"\1:\2:"),
    (r"\b(dify_\w+_seconds)_bucket\b", r"\1"),
)


def native() -> str:
    """Return the text of the file."""
    text = SOURCE.read_text()
    for pattern, replacement in _CHANGES:
        text = re.sub(pattern, replacement, text)
    return _HEAD + text


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(native())
