"""`make audit`: asks for known vulnerabilities of every version that requirements.lock pins.

A service that cannot be reached knows of no vulnerability either, so only an answer on each package counts as clean.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "requirements.lock"
SERVICES = ("osv", "pypi")


def ask(service: str) -> list[dict[str, Any]] | None:
    """What a service says of each package, in pip-audit's form; None where it does not answer."""
    result = subprocess.run(
        [
            sys.executable, "-m", "pip_audit", "--vulnerability-service", service, "--format", "json", "--timeout", "15",
            "--progress-spinner", "off", "--requirement", str(LOCK), "--require-hashes", "--disable-pip",
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    try:
        packages: list[dict[str, Any]] = json.loads(result.stdout)["dependencies"]
    except (ValueError, KeyError):
        return None
    return packages


def evaluated(answers: dict[str, list[dict[str, Any]] | None]) -> tuple[int, str]:
    """Exit code and what to say: 0 clean, 1 vulnerable, 2 where no service knew every package."""
    found = {
        f"{package['name']} {package['version']}: {each['id']}, mended in {', '.join(each['fix_versions']) or 'none'}"
        for packages in answers.values()
        for package in packages or ()
        for each in package.get("vulns", ())
    }
    if found:
        return 1, "\n".join(sorted(found))
    for service, packages in answers.items():
        if packages and not any("skip_reason" in package for package in packages):
            return 0, f"{service} knows no vulnerability of the {len(packages)} packages in {LOCK.name}"
    return (
        2,
        f"nothing is known of {LOCK.name}: {' and '.join(answers)} cannot be asked from here; try again with network",
    )


def main() -> None:
    answers = {service: ask(service) for service in SERVICES}
    code, words = evaluated(answers)
    print(words)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
