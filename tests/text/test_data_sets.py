"""Every real data set loads by its path alone, with the row counts that its README gives."""

from pathlib import Path

import pytest

from yanmo.text import formats
from yanmo.text.tagging import spans

# set: (format of its first file, what its rows are for, rows of each part). Where the README counts another unit than rows,
# the table says so. It gives no counts for the parts of the poetry, the novels and the word lists of WEAT.
SETS: dict[str, tuple[str, str, dict[str, int]]] = {
    "classification_en/sst2_glue": ("tsv", "classify", {"train": 60_614, "dev": 6735, "test": 872}),
    "classification_en/sst2_sentences": ("label text", "classify", {"train": 6920, "dev": 872, "test": 1821}),
    "classification_en/trec_questions": ("coarse:fine", "classify", {"train": 5452, "test": 500}),
    "classification_en/agnews": ("tsv", "classify", {"train": 10_001, "test": 7600}),
    "classification_zh/chnsenticorp": ("tsv", "classify", {"train": 9600, "dev": 1200, "test": 1200}),
    "classification_zh/thucnews_titles": ("tabs", "classify", {"dev": 10_000, "test": 10_000}),
    "classification_zh/csl_category": ("tsv", "classify", {"train": 8000, "dev": 1000, "test": 1000}),
    "sentiment_intensity/sst5": ("label text", "classify", {"train": 8544, "dev": 1101, "test": 2210}),
    "multilabel/goemotions": ("tsv", "classify", {"train": 43_410, "dev": 5426, "test": 5427}),
    "ner/conll2003_en": ("conll", "tag", {"train": 14_041, "dev": 3250, "test": 3453}),
    "ner/weibo_zh": ("conll", "tag", {"train": 1350, "dev": 270, "test": 270}),
    "ner/resume_zh": ("conll", "tag", {"train": 3821, "dev": 463, "test": 477}),
    "relation/semeval2010_task8": ("semeval", "relate", {"train": 8000, "test": 2717}),
    "relation/sanwen_zh": ("tabs", "relate", {"train": 17_227, "dev": 1793, "test": 2220}),
    "mt/multi30k": ("text", "translate", {"train": 29_000, "dev": 1014, "test": 1000}),
    "mt/tatoeba_en_zh": ("tabs", "translate", {"train": 22_444}),
    "qa/cmrc2018_zh": ("json", "read", {"trial": 1002, "dev": 3219}),
    "qa/drcd_zh_hant": ("json", "read", {"dev": 3524}),
    "qa/xquad": ("json", "read", {"xquad.en": 1190, "xquad.zh": 1190}),
    "qa/subjqa_en": ("csv", "read", {"train": 2345, "dev": 261, "test": 718}),
    "kgqa/pathquestion": ("tabs", "answer", {"PQ-2H": 1908, "2H-kb": 1211, "PQ-3H": 5198, "3H-kb": 2839}),
    "summarisation/scitldr": ("jsonl", "summarise", {"train": 1992, "dev": 619, "test": 618}),
    "summarisation/finna_zh": ("json", "summarise", {"test": 3600}),
    "dialogue/banking77_en": ("csv", "classify", {"train": 10_003, "test": 3080}),
    "dialogue/crosswoz_zh": ("jsonl", "chat", {"dev": 500}),
    "dialogue/xdailydialog_en_zh": (
        "dialogue",
        "chat",
        {"en_dev_human": 995, "zh_dev_human": 995, "en_test_human": 996, "zh_test_human": 996},
    ),
    "instruction/self_instruct_seed": ("jsonl", "instruct", {"seed_tasks": 175}),
    "instruction/llamafactory_demo": (
        "json",
        "instruct",
        {"alpaca_zh_demo": 1000, "alpaca_en_demo": 999, "identity": 91, "dpo_zh_demo": 300},
    ),
    "retrieval/cranfield_en": ("smart", "texts", {"cran.all.1400": 1400, "cran.qry": 225, "cranqrel": 1837}),
    "matching/afqmc_zh": ("csv", "match", {"train": 34_334, "dev": 4316, "test": 3861}),
    "matching/stsb_en_zh": (
        "csv",
        "match",
        {
            f"stsb-{language}-{part}": rows
            for language in ("en", "zh")
            for part, rows in (("train", 5749), ("dev", 1500), ("test", 1379))
        },
    ),
    "finance/phrasebank_en": ("text@label", "classify", {"Sentences_50Agree": 4846, "Sentences_AllAgree": 2264}),
    "finance/finfe_zh": ("json", "classify", {"train": 16_157, "test": 2020}),
    "finance/finnl_multilabel_zh": ("json", "classify", {"train": 7071, "test": 884}),
    "finance/xmu_fin_news_zh": ("csv", "classify", {"news_seed": 6475, "test": 2040}),
    "finance/stocknet_tweets_en": ("jsonl", "texts", {"BAC": 2283, "C": 2190, "JPM": 1892}),
    "recsys/ml-latest-small": ("csv", "table", {"ratings": 100_836, "movies": 9742, "tags": 3683, "links": 9742}),
    "lm/tinyshakespeare": ("text", "texts", {"input": 32_777}),  # lines that are not blank; its bytes are counted below
    "lm/wikitext2": ("text", "texts", {"dev": 2461}),  # the same; all of its lines are counted below
    "lm/wiki_demo_en": ("text", "texts", {"wiki_demo": 30}),
    "lm/chinese_novels": ("text", "texts", {"三国演义": 1566, "红楼梦": 2654}),
    "lm/chinese_poetry": (
        "json",
        "texts",
        {f"ci.song.{i}000".replace(".0000", ".0"): 1000 for i in range(4)}
        | {"daxue": 1, "mengzi": 14, "songci300": 280, "tang300": 366, "zhongyong": 1},
    ),
    "fewshot/fewclue/tnews": (
        "jsonl",
        "classify",
        {"train": 240, "dev": 240, "test": 2010, "train_few_all": 1185, "dev_few_all": 1098},
    ),
    "fewshot/fewclue/eprstmt": (
        "jsonl",
        "classify",
        {"train": 32, "dev": 32, "test": 610, "train_few_all": 160, "dev_few_all": 160},
    ),
    "fewshot/fewclue/ocnli": (
        "jsonl",
        "match",
        {"train": 32, "dev": 32, "test": 2520, "train_few_all": 160, "dev_few_all": 160},
    ),
    "fewshot/fewclue/cluewsc": (
        "jsonl",
        "classify",
        {"train": 32, "dev": 32, "test": 976, "train_few_all": 160, "dev_few_all": 159},
    ),
    "fewshot/cmmlu": ("csv", "choose", {"dev": 225, "test": 7998}),
    "fewshot/xcopa_zh": ("jsonl", "choose", {"dev": 100, "test": 500}),
    "fewshot/commonsense_en": (
        "json",
        "instruct",
        {"ARC-Easy.test": 2376, "boolq.test": 3270, "openbookqa.test": 500, "piqa.test": 1838},
    ),
    "fewshot/gsm8k": ("jsonl", "answer", {"test": 1319}),
    "fewshot/rte_en": (
        "xml",
        "match",
        {"rte1_dev": 567, "rte1_test": 800, "rte2_dev": 400, "rte2_test": 800, "rte3_dev": 800, "rte3_test": 800},
    ),
    "trust/crows_pairs": ("csv", "match", {"crows_pairs_anonymized": 1508}),
    "trust/weat_seat": ("json", "table", {}),  # 30 files, counted below
    "trust/truthfulqa": ("csv", "answer", {"TruthfulQA": 817}),
    "multimodal/twemoji_captions": ("jsonl", "classify", {"captions": 1250}),  # the pictures are passed over
    "multimodal/llamafactory_mllm_demo": ("json", "chat", {"mllm_demo": 6}),
}


@pytest.mark.parametrize("name", SETS)
def test_a_set_loads_by_its_path(shared_data: Path, name: str) -> None:
    kind, task, counts = SETS[name]
    found = formats.load(shared_data / name)
    if counts:
        assert {part: len(rows) for part, rows in found.items()} == counts
    part = next(iter(counts or found))
    assert task == formats.names.task(found[part][0].fields)
    file = formats.splits(shared_data / name).get(part, [next(iter(formats.splits(shared_data / name).values()))[0]])[0]
    assert formats.recognise(file).format == kind


def test_no_set_is_left_out(shared_data: Path) -> None:
    """Every folder of the collection that holds a file stands in the table."""
    folders = {path.parent for path in shared_data.rglob("*") if path.is_file() and path.parent != shared_data}
    names = {str(path.relative_to(shared_data)) for path in folders}
    assert {name.removesuffix("/dev").removesuffix("/test") for name in names} - {"fewshot/fewclue"} == {*SETS}


def test_other_units(shared_data: Path) -> None:
    """What the README counts where it does not count rows."""
    last = list(formats.raw(shared_data / "lm/tinyshakespeare/input.txt"))[-1]
    assert last.offset + len(last.fields["text"].encode()) + 1 == 1_115_394
    lines = [text for _, text in formats.numbered(shared_data / "lm/wikitext2/valid.txt")]
    assert len(lines) == 3760
    assert sum(len(line.split()) + 1 for line in lines) == 217_646  # tokens with <eos>
    assert len(formats.load(shared_data / "trust/weat_seat")) == 30
    turns = [
        len(row.fields["messages"]) for row in formats.rows(shared_data / "dialogue/crosswoz_zh/val.compact.jsonl.gz")
    ]
    assert sum(turns) == 8458
    dialogues = formats.load(shared_data / "dialogue/xdailydialog_en_zh")
    turns = [
        sum(len(row.fields["messages"]) for row in dialogues[f"{part}_human"])
        for part in ("en_dev", "zh_dev", "en_test", "zh_test")
    ]
    assert turns == [8025, 8025, 7716, 7716]


def test_entities_of_conll(shared_data: Path) -> None:
    rows = formats.load(shared_data / "ner/conll2003_en")
    begun = [span.type for row in rows["train"] for span in spans(row.fields["tags"])]
    assert {kind: begun.count(kind) for kind in ("LOC", "MISC", "ORG", "PER")} == {
        "LOC": 7140,
        "MISC": 3438,
        "ORG": 6321,
        "PER": 6600,
    }
    assert [rows[part][-1].fields["document"] for part in ("train", "dev", "test")] == [946, 216, 231]


def test_labels(shared_data: Path) -> None:
    def labels(name: str, part: str) -> list[str | list[str]]:
        return [row.fields["label"] for row in formats.load(shared_data / name)[part]]

    emotions = labels("multilabel/goemotions", "train")
    assert sum(len(several) > 1 for several in emotions) == 7102
    assert len({one for several in emotions for one in several}) == 28
    assert len(set(labels("classification_en/trec_questions", "train"))) == 6
    agreed = labels("finance/phrasebank_en", "Sentences_AllAgree")
    assert [agreed.count(label) for label in ("neutral", "positive", "negative")] == [1391, 570, 303]
    relations = {row.fields["relation"] for row in formats.load(shared_data / "relation/semeval2010_task8")["train"]}
    assert len(relations) == 19


@pytest.mark.parametrize(
    "name", ["classification_en/trec_questions/TREC.train", "finance/phrasebank_en/Sentences_AllAgree.txt"]
)
def test_latin_files(shared_data: Path, name: str) -> None:
    file = shared_data / name
    assert formats.recognise(file).encoding == "iso-8859-1"
    given = file.read_bytes().decode("iso-8859-1").splitlines()
    for row, line in zip(formats.rows(file), given, strict=True):
        assert row.fields["text"] in line


def test_answers_stand_where_they_say(shared_data: Path) -> None:
    """CMRC has 12 answers whose offset misses the text, as in the original (and others without one: -1); the others have none."""
    misses = {}
    for name in ("qa/cmrc2018_zh", "qa/drcd_zh_hant", "qa/xquad"):
        rows = [row.fields for part in formats.load(shared_data / name).values() for row in part]
        misses[name] = sum(
            answer["start"] >= 0 and not fields["context"].startswith(answer["text"], answer["start"])
            for fields in rows
            for answer in fields["answers"]
        )
    assert misses["qa/drcd_zh_hant"] == misses["qa/xquad"] == 0
    assert misses["qa/cmrc2018_zh"] == 12
