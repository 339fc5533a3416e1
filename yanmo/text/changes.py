"""The rules that change a text: small functions text -> text. Which of them run is told in `rules.py`.

They keep line breaks, which the filters count; only `spaces` says how many.
"""

import html
import re
import unicodedata
from functools import cache
from typing import Any

from yanmo.errors import optional
from yanmo.text.clean import HALF_WIDTH, INVISIBLE

_SCRIPTS = re.compile(r"<(script|style)\b[^>]*>.*?</\1\s*>|<!--.*?-->", re.DOTALL | re.IGNORECASE)
_BREAKS = re.compile(r"<(?:br|/?(?:p|div|li|tr|ul|ol|table|h[1-6]))\b[^<>]*>", re.IGNORECASE)
# Known names only: "a < b > c" and "<3" are no tags.
_TAGS = re.compile(
    r"</?(?:a|abbr|article|aside|b|big|blockquote|body|button|center|cite|code|dd|del|dl|dt|em|figure|font|footer|form"
    r"|head|header|hr|html|i|"
    r"iframe|img|input|ins|label|link|main|mark|meta|nav|option|pre|q|s|section|select|small|span|strong|sub|sup|tbody|td|textarea|tfoot|"
    r"th|thead|title|u|video)(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_SPACES = re.compile(r"[^\S\n]+")
_WIDE = re.compile("[" + "".join(map(chr, HALF_WIDTH)) + "]")
_GAPS = re.compile(r"\n{3,}")
_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
# A whole line of what pages put round their text.
_BOILERPLATE = re.compile(
    r"(?:首页|网站首页|返回顶部|返回首页|返回列表|上一[篇页].{0,40}|下一[篇页].{0,40}"
    r"|登录|注册|登录\s*[|/]\s*注册|更多|查看更多|点击查看更多|阅读全文|展开全文"
    r"|分享到.{0,30}|分享至.{0,30}|转发\s*收藏.{0,10}|点赞|责任编辑[：:].{0,20}|本文来源[：:].{0,40}|扫码关注.{0,30}|关注.{0,10}公众号.{0,20}"
    r"|版权所有.{0,60}|.{0,20}ICP备.{0,30}|未经(?:授权|许可|允许).{0,30}(?:转载|使用).{0,10}|当前位置[：:].{0,60}"
    r"|home|menu|skip to (?:main )?content|back to top|read more|show more|load more|click here|sign (?:in|up)|log ?in|register"
    r"|subscribe(?: now)?"
    r"|share (?:this|on).{0,40}|follow us.{0,40}|(?:copyright\b|©|\(c\)\s).{0,80}"
    r"|.{0,40}all rights reserved\.?|privacy policy|terms of (?:use|service)"
    r"|(?:we|this (?:web)?site) uses? cookies.{0,80}|accept (?:all )?cookies|(?:previous|next) (?:page|post|article).{0,40}"
    r"|(?:[^\s|>»›]{1,12}\s*[|>»›]\s*){2,}[^\s|>»›]{1,12})",
    re.IGNORECASE,
)


def unicode(text: str) -> str:
    """Letters and their accents composed (NFC), which changes nothing that can be seen."""
    return unicodedata.normalize("NFC", text)


def width(text: str) -> str:
    """Full-width letters, digits and signs half width; Chinese punctuation stays."""
    return text.translate(HALF_WIDTH) if not text.isascii() and _WIDE.search(text) else text


def controls(text: str) -> str:
    """Control and invisible characters and halves of surrogate pairs dropped; every line end a line feed."""
    # A text that is printable as Unicode has it holds none of these.
    return text if text.isprintable() else INVISIBLE.sub("", _LINE_ENDS.sub("\n", text))


def spaces(text: str) -> str:
    """Runs of spaces and tabs one space, none at the ends of lines; at most one empty line in a row, none at the ends."""
    if text.isprintable() and "  " not in text:  # a space is the only white space in it
        return text.strip()
    if "\n" not in text:
        return " ".join(text.split())
    stripped = "\n".join(line.strip() for line in _SPACES.sub(" ", text).split("\n"))
    return _GAPS.sub("\n\n", stripped).strip("\n")


def markup(text: str) -> str:
    """HTML tags, comments, scripts and styles dropped, entities resolved, a block its own line."""
    if "<" in text:
        text = _TAGS.sub("", _BREAKS.sub("\n", _SCRIPTS.sub("", text)))
    return _ENTITY.sub(lambda match: html.unescape(match.group()), text)


def boilerplate(text: str) -> str:
    """Lines of navigation, copyright and sharing dropped. A text of one line is left as it is."""
    if "\n" not in text:
        return text
    return "\n".join(line for line in text.split("\n") if not _BOILERPLATE.fullmatch(line.strip()))


def mojibake(text: str) -> str:
    """Text that was decoded in the wrong encoding set right (ftfy), and nothing else of it changed."""
    fixed: str = optional("ftfy", "data").fix_encoding(text)
    return fixed


def simplified(text: str) -> str:
    """Traditional characters simplified, word by word where one character has several (OpenCC, t2s)."""
    converted: str = _opencc().convert(text)
    return converted


@cache
def _opencc() -> Any:
    return optional("opencc", "zh").OpenCC("t2s")
