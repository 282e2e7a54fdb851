"""Currencies as a closed set of labels: the active codes of ISO 4217, and RMB, which Dify writes for CNY."""

import re
from typing import TypeGuard

from parsers.batch import OTHER, UNKNOWN

_CODES = frozenset(
    """AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF
    CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF
    IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK
    MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RMB RON RSD RUB RWF
    SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS
    VED VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG""".split()
)


_CODE = re.compile(r"[A-Za-z]{3}")


def currency_of(value: object) -> str:
    """Return a code of the set, `other` for three letters outside the set, `unknown` for anything else."""
    if not is_currency(value):
        return UNKNOWN
    return value if value in _CODES else OTHER


def is_currency(value: object) -> TypeGuard[str]:
    """Return whether a value looks like the code of a currency: three letters."""
    return isinstance(value, str) and _CODE.fullmatch(value) is not None
