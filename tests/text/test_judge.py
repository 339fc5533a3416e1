"""A block of rows judged at once: what the rules say of each row, and no rule is asked of a row that it surely leaves."""

import pytest
from hypothesis import given
from hypothesis import settings as budget_of
from hypothesis import strategies as st

from yanmo.text import changes, rules
from yanmo.text.judge import Judge, Texts
from yanmo.text.rules import Clean

ODD = "\x00\x1c\x85\t\n\r  \u3000\u200b\u200d\ufeff\u0301\u0323ｅ．，e\u1100\u1161\u11a8가Åﬁ。啊啊啊啊!!!!"
TEXT = st.text(st.one_of(st.sampled_from(ODD), st.characters()), max_size=12)
ROW = st.tuples(
    st.one_of(st.tuples(TEXT), st.lists(TEXT, max_size=3).map(tuple)),
    st.one_of(st.just(()), st.lists(TEXT, max_size=2).map(tuple)),
)
RULES = {
    "usual": Clean(),
    "long and short": Clean(shortest=3, longest=6),
    "none": Clean(unicode=False, width=False, controls=False, spaces=False, shortest=0, repeated_characters=None),
    "half": Clean(unicode=False, controls=False, repeated_characters=0.0),
    "nothing is kept": Clean(repeated_characters=-1.0),
    "with others": Clean(markup=True, boilerplate=True, digits=0.5),
}


@pytest.mark.parametrize("compared", [False, True])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@given(block=st.lists(ROW, max_size=20))
@budget_of(max_examples=200, deadline=None)
def test_a_block_is_judged_as_each_row_by_the_rules(rule: Clean, compared: bool, block: list[Texts]) -> None:
    careful = Judge(rule, compared)
    careful._quick = False
    assert Judge(rule, compared)(block) == careful(block)


def test_rules_are_asked_of_doubtful_rows_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def spaces(text: str) -> str:
        asked.append(text)
        return changes.spaces(text)

    monkeypatch.setitem(rules.CHANGES, "spaces", spaces)
    plain = ["研墨，磨字成文。", "The ink stone grinds text: é, 가!", "one two"]
    doubtful = ["two  spaces", " before", "behind ", "", "a\tb", "e\u0301", "ｅ", "哈哈哈哈哈", "가\u11a8"]
    mixed = [text for pair in zip(plain * 3, doubtful, strict=True) for text in pair]
    Judge(Clean(), True)([((text,), ()) for text in mixed])
    assert asked == [changes.controls(changes.width(changes.unicode(text))) for text in doubtful]
