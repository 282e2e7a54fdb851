"""The methods of a parser of another package may give anything. That becomes one sentence, never an error."""

from typing import Any

import pytest

from parsers.advice import Advice
from parsers.batch import ERROR_KINDS, FAILURE_REASONS, Batch
from parsers.envelope.envelope import Envelope
from parsers.parser import Parser, advice_of, checked_call, registered


class Foreign(Parser, frozen=True):
    given: Any

    def advice(self, sample: Batch, log: bytes = b"") -> Any:
        if self.given is KeyError:
            raise KeyError(sample.lines)
        return self.given


EXPECTED = "this parser has a fault: advice {}, expected Advice(str, frozenset); ask its author"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (("set LOG_LEVEL",), "gave str"),
        ("set LOG_LEVEL", "gave str"),
        ((Advice("x"), None), "gave NoneType"),
        (None, "raised TypeError"),
        (KeyError, "raised KeyError"),
        ((Advice(5),), "gave Advice(int, frozenset)"),  # type: ignore[arg-type]
        ((Advice("x", ["Usage"]),), "gave Advice(str, list)"),  # type: ignore[arg-type]
    ],
)
def test_advice_of_another_type_is_one_sentence(given: object, found: str) -> None:
    for parser in (Foreign(given=given), Envelope(parser=Foreign(given=given))):
        assert advice_of(parser, Batch(1), b"log") == (Advice(EXPECTED.format(found)),)


def test_good_advice_stays_as_it_is() -> None:
    assert advice_of(Foreign(given=[Advice("x")]), Batch(1), b"") == (Advice("x"),)


class Faulty(Parser, frozen=True):
    """Every method gives `given`, or raises it."""

    given: Any

    def _give(self, *_: object) -> Any:
        if isinstance(self.given, Exception):
            raise self.given
        return self.given

    parse = prepare = matched_length = ignores_continuations = remedy = error_kinds = failure_reasons = advice = _give


METHODS = {
    "prepare": ((), None),
    "matched_length": ((b"CANARY",), 0),
    "ignores_continuations": ((), False),
    "remedy": ((b"CANARY",), ""),
    "error_kinds": ((Batch(),), frozenset(ERROR_KINDS)),
    "failure_reasons": ((Batch(),), frozenset(FAILURE_REASONS)),
    "advice": ((Batch(), b"CANARY"), ()),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("given", "found"),
    [
        (KeyError("CANARY"), "raised KeyError"),
        (RecursionError(), "raised RecursionError"),
        (object(), ""),
        ((None, 5), ""),
    ],
)
def test_a_fault_is_one_sentence_and_the_answer_of_the_base_class(method: str, given: object, found: str) -> None:
    arguments, expected = METHODS[method]
    bare = Faulty(given=given)
    for parser in (bare,) if method in ("prepare", "matched_length") else (bare, Envelope(parser=bare)):
        answer, sentence = checked_call(parser, method, *arguments)
        assert answer == expected
        assert sentence.startswith(f"this parser has a fault: {method} {found}")
        assert sentence.endswith("; ask its author")
        assert "CANARY" not in sentence


def test_faults_of_the_methods_that_describe_a_log_are_advice() -> None:
    faults = [advice.sentence for advice in advice_of(Faulty(given=KeyError("CANARY")), Batch(), b"")]
    assert faults == [
        f"this parser has a fault: {method} raised KeyError, expected {expected}; ask its author"
        for method, expected in {
            "advice": "Advice(str, frozenset)",
            "error_kinds": "str",
            "failure_reasons": "str",
            "ignores_continuations": "bool",
        }.items()
    ]


@pytest.mark.parametrize("parser", [cls(**options) for cls in registered().values() for options in cls.guesses])
def test_the_methods_of_built_in_parsers_have_no_fault(parser: Parser) -> None:
    for method, (arguments, _) in METHODS.items():
        assert checked_call(parser, method, *arguments) == (getattr(parser, method)(*arguments), "")
