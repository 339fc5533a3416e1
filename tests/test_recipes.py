"""Every recipe runs two steps, on small data, from a small model; and what makes their corpora."""

import io
import json
import random
import tarfile
from pathlib import Path

import pytest
import yaml

import yanmo
from recipes import peoples_daily, poems_corpus, zh_mini_corpus
from yanmo.text import formats, samples, tagging

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))
POEM = "床前明月光，疑是地上霜。举头望明月，低头思故乡。"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_two_steps(recipe: Path, tmp_path: Path, small_folder: Path) -> None:
    train = {"epochs": None, "minutes": None, "tokens": None, "steps": 2}
    asked = yaml.safe_load(recipe.read_text("utf-8")).get("task")
    if asked and "tasks" in asked:
        labelled = "".join(f"{'good' if i % 2 else 'bad'}\tsome words number {i}\n" for i in range(40))
        (tmp_path / "classify.tsv").write_text("label\ttext\n" + labelled)
        (tmp_path / "tag.conll").write_text("".join(f"some O\nwords B-LOC\nnumber{i} O\n\n" for i in range(40)))
        tasks = {name: {"max_length": 16} for name in asked["tasks"]}
        files = {"classify": tmp_path / "classify.tsv", "tag": tmp_path / "tag.conll"}
        rows = {name: {"train": files[task["name"]]} for name, task in asked["tasks"].items()}
        keys = {"model": {"base": str(small_folder)}, "task": {"tasks": tasks}, "data": {"tasks": rows}}
        metrics = yanmo.finetune(recipe, run=tmp_path / "run", train=train, **keys)
    elif asked:
        rows = "".join(f"{'good' if i % 2 else 'bad'}\tsome words number {i}\n" for i in range(40))
        (tmp_path / "rows.tsv").write_text("label\ttext\n" + rows)
        keys = {} if "scratch" in recipe.stem else {"model": {"base": str(small_folder)}, "task": {"max_length": 16}}
        data = {"train": tmp_path / "rows.tsv"}
        metrics = yanmo.finetune(recipe, run=tmp_path / "run", data=data, train=train, **keys)
    else:
        (tmp_path / "texts.txt").write_text(f"{POEM}\n" * 40, "utf-8")
        data = dict.fromkeys(("train", "dev"), tmp_path / "texts.txt")
        metrics = yanmo.pretrain(recipe, run=tmp_path / "run", data=data, train={**train, "batch_tokens": 64})
    assert metrics["train"]["steps"] == 2


def test_forms_of_the_peoples_daily(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same words in every form, and the tenth that no pre-training read as the test rows."""
    some = {part: samples.peoples_daily_tagged(part)[:200] for part in ("train", "test")}
    monkeypatch.setattr(samples, "peoples_daily_tagged", some.__getitem__)
    peoples_daily.main(tmp_path)
    for part in ("train", "test"):
        texts = samples.peoples_daily(part)
        held = {name: formats.load(tmp_path / name)[part] for name in peoples_daily.FORMS}
        for rows in held.values():
            assert ["".join(row.fields["tokens"]) for row in rows] == texts
        for parted, both, speech in zip(
            *(held[name][:200] for name in ("segmentation", "joint", "speech")), strict=True
        ):
            characters, spans = both.fields["tokens"], tagging.spans(both.fields["tags"])
            assert ["".join(characters[span.start : span.end]) for span in spans] == speech.fields["tokens"]
            assert [span.type for span in spans] == speech.fields["tags"]
            assert [span[1:] for span in tagging.spans(parted.fields["tags"])] == [span[1:] for span in spans]


@pytest.mark.parametrize(
    ("text", "poem"),
    [
        (POEM, POEM),
        ("床前明月光、疑是地上霜？舉頭望明月！低頭思故鄉", "床前明月光，疑是地上霜。舉頭望明月，低頭思故鄉。"),
        ("朝辞白帝彩云间，千里江陵一日还。两岸猿声啼不住，轻舟已过万重山。" * 2, ...),
        ("床前明月光，疑是地上霜。", None),  # two lines
        ("床前明月光，疑是地上霜。举头望明月，低头又思故乡人。", None),
        ("长安道，人无衣，马无草，何不归来山中老。", None),
        ("床前明月光，疑是地上霜。举头望明月，低头思故□。", None),
        ("床前明月光，疑是地上霜。举头望明月，低头思（一作念。", None),
        ("", None),
    ],
)
def test_form_of_poems(text: str, poem: object) -> None:
    assert poems_corpus.regulated(text) == (text if poem is ... else poem)


def test_held_out_poems_share_nothing_with_training() -> None:
    draw = random.Random(0)
    lines = ["".join(chr(0x4E00 + draw.randrange(100)) for _ in range(5)) for _ in range(1600)]
    apart = ["{}，{}。{}，{}。".format(*lines[at : at + 4]) for at in range(0, 1200, 4)]
    twins = ["{}，{}。{}，{}。".format(lines[at], *lines[1200 + at : 1203 + at]) for at in range(0, 400, 4)]
    rare = "稀" + apart[0][1:]
    parts = poems_corpus.in_parts([*apart, *twins, rare], known=102)
    training = {line for poem in parts["train"] for line in poems_corpus.lines_of(poem)}
    held_out = [poem for name in ("dev", "test") for poem in parts[name]]
    assert held_out
    assert training.isdisjoint(line for poem in held_out for line in poems_corpus.lines_of(poem))
    assert len(held_out) < len(apart) + len(twins) - len(parts["train"])  # some twins were dropped
    assert rare not in [*parts["train"], *held_out]


def test_poems_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "package.tgz", "w:gz") as package:
        for name in ("poet.song.0", "poet.tang.10000", "poet.tang.2000", "authors.tang"):
            content = json.dumps([{"paragraphs": [name, "。"]}]).encode()
            member = tarfile.TarInfo(f"package/dist/quantangshi/{name}.json")
            member.size = len(content)
            package.addfile(member, io.BytesIO(content))
    found = list(poems_corpus.raw(tmp_path / "package.tgz"))
    assert found == [("tang", "poet.tang.2000。"), ("tang", "poet.tang.10000。"), ("song", "poet.song.0。")]


def test_passages_are_neighbouring_paragraphs() -> None:
    paragraphs = [f"{'字' * (7 * number % 90)}第{number}段。" for number in range(400)]
    found = list(zh_mini_corpus.passages(paragraphs, 1e9))
    assert "".join(found) == "".join(paragraphs)
    lengths = [len(passage) for passage in found]
    assert max(lengths) <= max(zh_mini_corpus.PASSAGES)
    assert min(lengths) < 100 and sum(length > 240 for length in lengths) > 10  # short ones and long ones
    cut = list(zh_mini_corpus.passages(paragraphs, 2000))
    assert cut == found[: len(cut)] and sum(map(len, cut)) <= 2000


def test_the_corpus_leaves_out_what_is_for_tests() -> None:
    files = [file for file, *_ in zh_mini_corpus.DATA.values()]
    assert not [file for file in files if "cmrc2018_dev" in file or "xquad" in file]


def test_sayings_lose_their_colours(tmp_path: Path) -> None:
    (tmp_path / "chinese").write_text("要有\x1b[33m礼貌\x1b[m\n%\n善意\n", "utf-8")
    assert list(zh_mini_corpus.sayings(tmp_path, "*")) == ["要有礼貌", "善意\n"]


def test_a_dictionary_becomes_paragraphs(tmp_path: Path) -> None:
    """Short entries stand together, numbers and pronunciations go, and ~ is the character."""
    words = [
        ("晨风", "1.清晨的风。 2.鸟名。"),
        *[("闯祸", "1.惹起灾祸;闹出乱子。")] * 4,
        ("衬里", "缝制衣服时衬在里面的布做～。"),
    ]
    (tmp_path / "chinese_word_dictionary.txt").write_text("".join(f"{a}\t{b}\n" for a, b in words), "utf-8")
    (tmp_path / "chinese_char_dictionary.txt").write_text("帮\t幫\t9\tX\t[bāng]1.帮助：~忙。(2)集团：匪~\n", "utf-8")
    first, rest = zh_mini_corpus.words(tmp_path)
    assert rest.endswith("衬里：缝制衣服时衬在里面的布做衬里。")
    assert " ".join(first.split()).startswith("晨风： 清晨的风。 鸟名。 闯祸： 惹起灾祸;闹出乱子。")
    (told,) = zh_mini_corpus.characters(tmp_path)
    assert " ".join(told.split()) == "帮： 帮助：帮忙。 集团：匪帮"
