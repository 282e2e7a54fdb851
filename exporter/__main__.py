"""Where `dify-exporter` begins: whatever takes time is imported when no signal can hurt any more."""

import io
import sys

from exporter.process import signals


def main() -> None:
    signals.block()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an app's name may be no text in this locale
    from exporter.cli import main as command

    command()


if __name__ == "__main__":
    main()
