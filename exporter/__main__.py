"""Where `dify-exporter` begins: whatever takes time is imported when no signal can hurt any more."""

import io
import os
import sys

from exporter.process import signals


def main() -> None:
    signals.block()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started us: `>&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for the whole process
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an app's name may be no text in this locale
    from exporter.cli import main as command

    command()


if __name__ == "__main__":
    main()
