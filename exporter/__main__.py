"""Where `dify-exporter` begins: whatever takes time is imported when no signal can hurt any more."""

from exporter import signals


def main() -> None:
    signals.hold()
    from exporter.cli import main as command

    command()


if __name__ == "__main__":
    main()
