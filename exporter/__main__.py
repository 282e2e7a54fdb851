"""The entry point of `dify-exporter`. Signals are blocked before the slow imports, so that none is lost."""

import _signal  # type: ignore[import-not-found]  # importing `signal` imports more: Ctrl-C there would print a traceback
import gc
import io
import os
import sys


def main() -> None:
    _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGHUP, _signal.SIGTERM, _signal.SIGINT))
    from exporter.process import signals

    signals.set_handlers()
    # numpy's linear algebra, which nothing here uses, would start threads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.disable()  # imports create objects that stay: to traverse them takes a tenth of the time of a start
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the parent process has closed it: `>&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for the whole process
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # the name of an app may not be encodable in this locale
    from exporter.cli import main as command

    command()


if __name__ == "__main__":
    main()
