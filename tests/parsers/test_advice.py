"""The advice of a parser of another package may be anything. It becomes one sentence, never an error."""

from typing import Any

import pytest

from parsers.advice import Advice
from parsers.batch import Batch
from parsers.envelope.envelope import Envelope
from parsers.parser import Parser, advice_of


class Foreign(Parser, frozen=True):
    given: Any

    def advice(self, sample: Batch) -> Any:
        if self.given is KeyError:
            raise KeyError(sample.lines)
        return self.given


EXPECTED = (
    "the advice of this parser cannot be shown: {}, expected Advice(str, frozenset) of parsers.advice; ask its author"
)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (("set LOG_LEVEL",), "it gave str"),
        ("set LOG_LEVEL", "it gave str"),
        ((Advice("x"), None), "it gave NoneType"),
        (None, "it raised TypeError"),
        (KeyError, "it raised KeyError"),
        ((Advice(5),), "it gave Advice(int, frozenset)"),  # type: ignore[arg-type]
        ((Advice("x", ["Usage"]),), "it gave Advice(str, list)"),  # type: ignore[arg-type]
    ],
)
def test_advice_of_another_type_is_one_sentence(given: object, found: str) -> None:
    for parser in (Foreign(given=given), Envelope(parser=Foreign(given=given))):
        assert advice_of(parser, b"log", Batch(1)) == (Advice(EXPECTED.format(found)),)


def test_good_advice_stays_as_it_is() -> None:
    assert advice_of(Foreign(given=[Advice("x")]), b"", Batch(1)) == (Advice("x"),)
