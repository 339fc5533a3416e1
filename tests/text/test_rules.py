import sys

import pytest

from yanmo.errors import MissingExtra
from yanmo.text import changes, filters, personal, rules
from yanmo.text.rules import Clean

PAGE = """首页 > 新闻 > 正文
当前位置：首页

正文第一句，版权所有是一个词。
登录后可以评论这篇文章吗？

责任编辑：小王
© 2024 Example Inc.
All rights reserved.
Share this on Facebook
Read more
To read more about it, see the copyright page.
沪ICP备12345678号-1
"""


@pytest.mark.parametrize(
    ("change", "text", "expected"),
    [
        (changes.unicode, "e\u0301 ｅ ㎡", "é ｅ ㎡"),
        (changes.width, "Ａ１，（好）％", "A1，（好）%"),
        (changes.controls, "a\x00b\u200bc\r\nd\x85e\u2028f\x0bg\th", "abc\nd\ne\nf\ng\th"),
        (changes.spaces, "  a \t b \u3000 \n\n\n\n c\n", "a b\n\nc"),
        (changes.spaces, " a \t \u3000b\x1cc\x85 ", "a b c"),
        (changes.markup, "<p>a&amp;b</p><br/>c <b class='x'>d</b><!-- e --><script>f()</script>", "\na&b\n\nc d"),
        (
            changes.markup,
            "a < b > c <3 x<y>z <笑> AT&T &copy &lt; &#20320;&#x597D;",
            "a < b > c <3 x<y>z <笑> AT&T &copy < 你好",
        ),
        (
            changes.boilerplate,
            PAGE,
            "\n正文第一句，版权所有是一个词。\n登录后可以评论这篇文章吗？\n\nTo read more about it, see the copyright page.\n",
        ),
        (changes.boilerplate, "首页", "首页"),
    ],
)
def test_changes(change: rules.Change, text: str, expected: str) -> None:
    assert change(text) == expected


def test_mojibake() -> None:
    pytest.importorskip("ftfy")
    assert changes.mojibake("研墨，一只 café".encode().decode("latin-1")) == "研墨，一只 café"
    assert changes.mojibake("“研墨” ＡＢＣ") == "“研墨” ＡＢＣ"


def test_simplified() -> None:
    pytest.importorskip("opencc")
    assert changes.simplified("頭髮發現，乾隆乾淨") == "头发发现，乾隆干净"


@pytest.mark.parametrize(
    ("name", "extra", "change"), [("ftfy", "data", changes.mojibake), ("opencc", "zh", changes.simplified)]
)
def test_a_missing_extra_is_named(name: str, extra: str, change: rules.Change, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    changes._opencc.cache_clear()
    with pytest.raises(MissingExtra, match=rf"yanmo\[{extra}\]"):
        change("text")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("房间很好，服务也不错", "zh"),
        ("用 Python 写的程序很好", "zh"),
        ("The room was good and the service was not bad.", "en"),
        ("good film", "en"),
        ("Das Zimmer war schön und der Service ist nicht schlecht gewesen", "other"),
        ("これはとても良いホテルです", "other"),
        ("아주 좋은 호텔입니다", "other"),
        ("Это очень хороший отель", "other"),
        ("12345 !!!", "other"),
        ("", "other"),
    ],
)
def test_language(text: str, expected: str) -> None:
    assert filters.language(text) == expected


CHINESE = "研究人员在山上发现了一种新的植物，叶子细长，花朵是淡黄色的。当地村民说，每到春天，这种花就开满山坡，远远望去像一片金色的海。"
ENGLISH = (
    "Researchers found a new plant on the mountain last year. Its leaves are long and thin, and the flowers are pale. "
    "People who live nearby say that it blooms every spring, when whole slopes look like a golden sea from far away."
)


@pytest.mark.parametrize("text", [CHINESE, ENGLISH, CHINESE.replace("，", "\n"), "- one thing\nand another\n- a third"])
def test_good_text_passes_every_filter(text: str) -> None:
    """With the numbers of Gopher: text without spaces is not taken for one long word."""
    settings = Clean(
        repeated_lines=0.3,
        repeated_words=0.1,
        commonest_pair=0.2,
        letters=0.7,
        digits=0.2,
        symbols=0.1,
        ellipses=0.3,
        bullets=0.9,
    )
    _, keeps = rules.chosen(settings)
    assert [name for name, keep in keeps.items() if not keep(text)] == []


@pytest.mark.parametrize(
    ("measure", "text", "expected"),
    [
        (filters.repeated_characters, "好好好好好!", 5 / 6),
        (filters.repeated_characters, "好好好好 ......", 6 / 11),
        (filters.repeated_lines, "a\n a\n\nb\na", 0.5),
        (filters.repeated_words, "买它" * 40, 1.0),
        (filters.repeated_words, CHINESE * 2, 1.0),
        (filters.repeated_words, "买它" * 10, 0.0),
        (filters.commonest_pair, "买它" * 40, 1.0),
        (filters.letter_share, "a1 好!", 0.5),
        (filters.digit_share, "a1 好2", 0.5),
        (filters.symbol_share, "# a ... b…… c。。。", 4 / 3),
        (filters.ellipsis_lines, "a...\nb……\nc\nd", 0.5),
        (filters.bullet_lines, "- a\n• b\nc\nd", 0.5),
        *[(measure, "", 0.0) for measure in rules.MEASURES.values()],
    ],
)
def test_measures(measure: object, text: str, expected: float) -> None:
    assert callable(measure)
    assert measure(text) == pytest.approx(expected)


def test_what_runs() -> None:
    edits, keeps = rules.chosen(Clean())
    assert list(edits) == ["unicode", "width", "controls", "spaces"]
    assert list(keeps) == ["shortest", "repeated_characters"]
    settings = Clean(personal=["PHONE"], shortest=3, longest=5, languages=["zh"], letters=0.5, repeated_characters=None)
    edits, keeps = rules.chosen(settings)
    assert list(edits)[-1] == "personal"
    assert edits["personal"]("13812345678") == "[PHONE]"
    assert {
        name: [keep(text) for text in ("很好", "很好啊", "很好啊" * 2, "good", "很!!!")] for name, keep in keeps.items()
    } == {
        "shortest": [False, True, True, True, True],
        "longest": [True, True, False, True, True],
        "languages": [True, True, True, False, True],
        "letters": [True, True, True, True, False],
    }


def test_the_kinds_of_personal_numbers_are_those_of_the_table() -> None:
    assert set(rules.Kind.__args__) == set(personal.KINDS)
    assert set(personal.USUAL) <= set(personal.KINDS)
