"""Text -> text in which telephone numbers, addresses and numbers of persons are replaced by marks such as [PHONE].

What carries a check digit is masked only where the digit is right, so that order numbers and amounts stay. Full-width digits count
as digits. A number that is part of a longer one, of a word or of a decimal is left alone; Chinese characters may touch it.
Knows no names and no street addresses: those need a model.
"""

import re
from collections.abc import Callable, Sequence
from datetime import date

_FULL_WIDTH = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)}

# Nothing that makes a longer number, word or decimal may touch a match.
_BEFORE, _AFTER = r"(?<![A-Za-z0-9_])(?<![0-9][.,\-/])", r"(?![A-Za-z0-9_])(?![.,\-/][0-9])"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"


def _identity_card(number: str) -> bool:
    """GB 11643-1999: a birth date in places 7-14, and the check character of ISO 7064 MOD 11-2."""
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    weighed = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(number[:17]))
    return 1900 <= born.year <= 2100 and "10X98765432"[weighed % 11] == number[17].upper()


def _bank_card(number: str) -> bool:
    """13 to 19 digits whose Luhn sum (ISO/IEC 7812-1, annex B) is a multiple of 10, not all of them equal."""
    digits = [int(character) for character in number if character.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return 13 <= len(digits) <= 19 and len({*digits}) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _international(number: str) -> bool:
    """E.164: 8 to 15 digits with the country code."""
    return 8 <= sum(character.isdigit() for character in number) <= 15


def _always(text: str) -> bool:
    return True


# kind: (pattern on half-width text, what else must hold). The order matters: an identity card is no bank card, a card no phone.
KINDS: dict[str, tuple[re.Pattern[str], Callable[[str], bool]]] = {
    "EMAIL": (
        re.compile(
            r"(?<![A-Za-z0-9._%+\-])[A-Za-z0-9_%+\-]+(?:\.[A-Za-z0-9_%+\-]+)*@(?:[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(?![A-Za-z0-9\-])"
        ),
        _always,
    ),
    "ID": (re.compile(_BEFORE + r"[1-9][0-9]{16}[0-9Xx]" + _AFTER), _identity_card),
    "CARD": (
        re.compile(_BEFORE + r"[2-6](?:[0-9]{12,18}|[0-9]{3}(?:[ \-][0-9]{4}){2,3}(?:[ \-][0-9]{1,4})?)" + _AFTER),
        _bank_card,
    ),
    "PHONE": (
        re.compile(
            r"(?<![A-Za-z0-9_+])(?<![0-9][.,\-/])(?:"
            r"(?:\+?86[ \-]?)?1[3-9][0-9](?:[0-9]{8}|[ \-][0-9]{4}[ \-][0-9]{4})"  # mobile
            r"|(?:\(0[1-9][0-9]{1,2}\) ?|0[1-9][0-9]{1,2}[ \-])[2-9][0-9]{6,7}(?:(?:-|转)[0-9]{1,5})?"  # landline, with its area code
            r"|[48]00-[0-9]{3}-?[0-9]{4}|[48]00-[0-9]{4}-[0-9]{3}"
            r")" + _AFTER
        ),
        _always,
    ),
    "ABROAD": (re.compile(r"(?<![A-Za-z0-9_+])\+[1-9](?:[ \-.]?\(?[0-9]+\)?)+" + _AFTER), _international),
    "IP": (
        re.compile(r"(?<![A-Za-z0-9_.])" + _OCTET + r"(?:\." + _OCTET + r"){3}(?![A-Za-z0-9_])(?!\.[0-9])"),
        _always,
    ),
}
MARKS = {"ABROAD": "PHONE"}  # where the mark is not the kind
USUAL = ("EMAIL", "ID", "CARD", "PHONE", "ABROAD")


def mask(text: str, kinds: Sequence[str] = USUAL) -> str:
    """The text with every match of these `KINDS` replaced by its mark; all else as it stands, full width or not."""
    for kind, (pattern, holds) in KINDS.items():
        if kind in kinds:
            # One character for one, so places in the half-width text are places in the text.
            half = text.translate(_FULL_WIDTH)
            found = [match.span() for match in pattern.finditer(half) if holds(match.group())]
            for start, stop in reversed(found):
                text = f"{text[:start]}[{MARKS.get(kind, kind)}]{text[stop:]}"
    return text
