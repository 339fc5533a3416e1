"""The house rules that a parser can check: who imports whom, who calls the loop, what the core needs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "yanmo"

# Left never imports right; within one step nobody imports a neighbour, unless ALLOWED says so. (design: "Who may import whom")
STEPS = [
    ["errors"],
    ["files", "settings"],
    ["machine", "progress", "signals", "wording"],
    ["text", "nn"],
    ["models", "adapters"],
    ["decoding"],
    ["tasks"],
    ["index", "train"],
    ["evaluation", "baselines", "inspection", "scrutiny"],
    ["hub"],
    ["checkpoint"],
    ["joining"],
    ["beginning", "anatomy", "page"],
    ["overview", "scrutiny_report", "runs"],
    ["report"],
    ["saving", "job"],
    ["fit"],
    ["compression", "engine"],
    ["server", "apps"],
    ["commands"],
    ["__main__", "__init__"],
]
LEVEL = {room: level for level, step in enumerate(STEPS) for room in step}
PARENTS = {
    "roberta": "bert",
    "bert_ngrams": "bert",
    "bart": "transformer",
}  # a variant may import the family that it varies
ORACLES = {"transformers", "peft", "accelerate", "sentence_transformers", "datasets", "snownlp"}
CORE = {
    *(
        "torch",
        "numpy",
        "safetensors",
        "tokenizers",
        "jinja2",
        "markupsafe",
        "yaml",
        "pydantic",
        "pydantic_core",
        "typer",
    ),
    *("rich", "sklearn"),
}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_import_direction(path: Path) -> None:
    own = room(path)
    assert own in LEVEL, f"{own} has no place in the order of rooms"
    if own == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "yanmo" and len(parts) > 1 and parts[1] in LEVEL and parts[1] != own:
            assert LEVEL[parts[1]] < LEVEL[own], f"{own} imports {name}: left never imports right"


@pytest.mark.parametrize("path", sorted((PACKAGE / "models").glob("*.py")), ids=lambda path: path.stem)
def test_families_do_not_import_each_other(path: Path) -> None:
    shared = {"base", "encoder_decoder", "hf", "gguf", "gguf_file", "weights", "__init__"}
    families = {p.stem for p in (PACKAGE / "models").glob("*.py")} - shared
    others = {name.split(".")[2] for name in imports(path) if name.startswith("yanmo.models.") and name.count(".") >= 2}
    assert not others & (families - {path.stem, PARENTS.get(path.stem)})


def test_tasks_know_models_by_their_protocol_only() -> None:
    for path in (PACKAGE / "tasks").rglob("*.py"):
        strangers = {n for n in imports(path) if n.startswith("yanmo.models") and not n.startswith("yanmo.models.base")}
        assert strangers <= {"yanmo.models"}, f"{path}: {strangers}"


def test_the_index_takes_vectors_and_never_a_model() -> None:
    for path in (PACKAGE / "index").glob("*.py"):
        rooms = {name.split(".")[1] for name in imports(path) if name.startswith("yanmo.")}
        assert rooms <= {"errors", "files", "settings", "text", "index"}, f"{path}: {rooms}"


def test_only_fit_calls_the_loop() -> None:
    users = {
        str(path.relative_to(PACKAGE))
        for path in FILES
        if {"yanmo.train.loop", "yanmo.train.loop.steps"} & imports(path)
    }
    assert users == {"fit.py"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_oracle_and_no_unlisted_dependency(path: Path) -> None:
    for name in imports(path):
        top = name.split(".")[0]
        assert top not in ORACLES, f"{path} imports {top}, which is an oracle for tests"
        known = top in sys.stdlib_module_names or top in CORE | {"yanmo", "__future__"}
        assert known or (path.name == "track.py" and top == "tensorboard"), f"{path}: {top} is no core dependency"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_m1_no_code_from_files(path: Path) -> None:
    """No pickle, no eval, no shell, no unsafe YAML."""
    tree = ast.parse(path.read_text("utf-8"))
    assert not {"pickle", "joblib", "marshal", "shelve", "dill"} & {name.split(".")[0] for name in imports(path)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "torch.load", "torch.save", "numpy.load", "np.load"), (
                f"{path}: {called}"
            )
            assert not any(k.arg == "shell" for k in node.keywords), f"{path}: shell="
            if called == "yaml.load":
                assert "_Yaml12" in ast.unparse(node), f"{path}: yaml.load without the safe loader"


def test_files_fit_a_sitting() -> None:
    long = {str(path): n for path in FILES if (n := len(path.read_text("utf-8").splitlines())) > 400}
    assert not long


def fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_imports_no_torch() -> None:
    out = fresh(
        "import sys, yanmo.__main__ as m; m.main(['--help']); print('torch' in sys.modules, 'sklearn' in sys.modules)"
    )
    assert out.strip().endswith("False False")


def test_core_imports_without_extras() -> None:
    """Every module imports where the extras and the oracles are not installed."""
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in FILES]
    blocked = sorted(
        ORACLES | {"tensorboard", "pyarrow", "zstandard", "gguf", "huggingface_hub", "bm25s", "faiss", "pycrfsuite"}
    )
    fresh(
        f"import sys\nfor name in {blocked!r}: sys.modules[name] = None\n"
        f"import importlib\nfor name in {modules!r}: importlib.import_module(name)"
    )


def test_public_names() -> None:
    out = fresh("import yanmo; print([n for n in yanmo.__all__ if not getattr(yanmo, n)])")
    assert out.strip() == "[]"
