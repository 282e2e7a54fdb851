"""The audit's verdict: silence is no clean bill."""

from tests.advisories import evaluated

CLEAN = {"name": "click", "version": "8.5.1", "vulns": []}
SKIPPED = {"name": "click", "skip_reason": "Dependency not found on PyPI and could not be audited"}
BAD = {"name": "h11", "version": "0.15", "vulns": [{"id": "CVE-2025-43859", "fix_versions": ["0.16"]}]}


def test_only_an_answer_on_each_package_is_clean() -> None:
    assert evaluated({"osv": [CLEAN], "pypi": None})[0] == 0
    assert evaluated({"osv": None, "pypi": [CLEAN, CLEAN]}) == (
        0, "pypi knows no vulnerability of the 2 packages in requirements.lock",
    )  # fmt: skip
    assert evaluated({"osv": None, "pypi": [CLEAN, SKIPPED]})[0] == 2
    code, words = evaluated({"osv": None, "pypi": None})
    assert (code, words.count("\n")) == (2, 0)
    assert "osv and pypi cannot be asked" in words
    assert evaluated({"osv": []})[0] == 2


def test_a_vulnerability_is_named_with_what_mends_it() -> None:
    assert evaluated({"osv": [CLEAN], "pypi": [SKIPPED, BAD]}) == (1, "h11 0.15: CVE-2025-43859, mended in 0.16")
