import random

import pytest

from yanmo.text.personal import KINDS, mask

# text -> masked
MASKED = {
    # mobiles
    "13812345678": "[PHONE]",
    "电话13812345678联系": "电话[PHONE]联系",
    "电话：１３８１２３４５６７８。": "电话：[PHONE]。",
    "138-1234-5678": "[PHONE]",
    "138 1234 5678": "[PHONE]",
    "+86 13812345678": "[PHONE]",
    "+86-138-1234-5678": "[PHONE]",
    "8613812345678": "[PHONE]",
    "手机19912345678，微信同号": "手机[PHONE]，微信同号",
    "打13812345678或13987654321": "打[PHONE]或[PHONE]",
    "(13812345678)": "([PHONE])",
    "call 13812345678.": "call [PHONE].",
    # landlines
    "010-62345678": "[PHONE]",
    "0571-87654321转8001": "[PHONE]",
    "0755-2345678": "[PHONE]",
    "(021) 62345678": "[PHONE]",
    "客服400-810-8888": "客服[PHONE]",
    "800-8108-888": "[PHONE]",
    # abroad
    "+1 (650) 555-0123": "[PHONE]",
    "+44 20 7946 0958": "[PHONE]",
    "+852 2345 6789": "[PHONE]",
    # e-mail
    "写信到zhang.san@example.com.cn吧": "写信到[EMAIL]吧",
    "a+b_c@sub.example.org, thanks": "[EMAIL], thanks",
    "ｔｅｓｔ＠ｅｘａｍｐｌｅ．ｃｏｍ": "[EMAIL]",
    # identity cards (the number of the standard's own example, and one with X)
    "11010519491231002X": "[ID]",
    "身份证11010519491231002x号": "身份证[ID]号",
    "４４０５２４１９８００１０１００１３": "[ID]",
    # bank cards
    "4111111111111111": "[CARD]",
    "卡号4111 1111 1111 1111有效": "卡号[CARD]有效",
    "5500-0000-0000-0004": "[CARD]",
    "378282246310005": "[CARD]",
}
STAYS = [
    "12345678901",  # no mobile begins so
    "10812345678",
    "138123456789",  # a digit too many
    "1381234567",
    "订单号20231113812345678",  # a mobile within a longer number
    "A13812345678",
    "x_13812345678",
    "13812345678kg",
    "1.13812345678",
    "13812345678.5",
    "2023-11-12",
    "2023/11/12 08:30:00",
    "1998-2023",
    "¥1,381,234.56",
    "价格12345678元",
    "v1.2.3",
    "version 10.15.7",
    "ISBN 978-7-111-12345-6",
    "110105194912310021",  # a wrong check digit
    "110105194913310020",  # month 13
    "110105194902300027",  # 30 February
    "011010519491231002X",  # begins with 0 and is too long
    "11010519491231002XY",
    "4111111111111112",  # a wrong Luhn digit
    "4444444444444444",  # all equal
    "1234567890123456",
    "41111111111111110000000",
    "62345678",  # a landline without its area code may be anything
    "12-345-678",
    "000-62345678",
    "a@b",
    "@someone",
    "3 @ 5.00",
    "me@localhost",
    "+1",
    "1+12345",
    "C++11",
    "192.168.0.1",  # unless asked for
    "3.14159265358979",
    "0.13812345678",
    "房间888，楼层18",
    "好评率99.99%",
    "第12345678号",
]


@pytest.mark.parametrize(("text", "expected"), MASKED.items())
def test_masked(text: str, expected: str) -> None:
    assert mask(text) == expected


@pytest.mark.parametrize("text", STAYS)
def test_look_alikes_stay(text: str) -> None:
    assert mask(text) == text


@pytest.mark.parametrize(
    ("before", "after"), [("", ""), ("我的", "谢谢"), ("：", "，"), ("(", ")"), ("“", "”"), (" ", "。")]
)
@pytest.mark.parametrize(
    "found", ["13812345678", "11010519491231002X", "4111111111111111", "x@example.com", "010-62345678"]
)
def test_neighbours(found: str, before: str, after: str) -> None:
    masked = mask(before + found + after)
    assert masked.startswith(before + "[")
    assert masked.endswith("]" + after)


def test_wrong_check_characters_stay() -> None:
    """Of the eleven check characters of a number one is right."""
    for body in ("11010519491231002", "44052419800101001", "31010119900307123"):
        kept = [character for character in "0123456789X" if mask(body + character, ["ID"]) == body + character]
        assert len(kept) == 10


def test_luhn() -> None:
    """Of ten last digits one is right, whatever comes before."""
    choose = random.Random(0)
    for length in range(13, 20):
        body = "6" + "".join(choose.choices("0123456789", k=length - 2))
        assert sum(mask(body + digit, ["CARD"]) == "[CARD]" for digit in "0123456789") == 1


def test_only_what_is_asked_for() -> None:
    text = "13812345678 x@example.com 192.168.0.1"
    assert mask(text, []) == text
    assert mask(text, ["EMAIL"]) == "13812345678 [EMAIL] 192.168.0.1"
    assert mask(text, ["IP"]) == "13812345678 x@example.com [IP]"
    assert all(mask(text, [kind]).count("[") <= 1 for kind in KINDS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.255", "[IP]"),
        ("服务器10.0.0.1宕机", "服务器[IP]宕机"),
        ("256.1.1.1", "256.1.1.1"),
        ("1.2.3.4.5", "1.2.3.4.5"),
        ("v1.2.3.4", "v1.2.3.4"),
        ("1.2.3", "1.2.3"),
        ("at 10.0.0.1.", "at [IP]."),
    ],
)
def test_addresses_of_machines(text: str, expected: str) -> None:
    assert mask(text, ["IP"]) == expected


def test_the_rest_of_the_text_stays_as_it_is() -> None:
    assert mask("Ｑ１，电话１３８１２３４５６７８，ＶＩＰ２") == "Ｑ１，电话[PHONE]，ＶＩＰ２"
