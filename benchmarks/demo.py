"""The demo at its full ten minutes, and its scores as JSON.

python benchmarks/demo.py        (writes benchmarks/results/demo.json; the run stays in runs/demo)
"""

import json
from pathlib import Path

import yanmo

RESULT = Path(__file__).parent / "results" / "demo.json"


def main() -> None:
    metrics = yanmo.demo()
    record = json.loads(Path("runs/demo/yanmo.json").read_text("utf-8"))
    keep = ("rows", "accuracy", "macro_f1", "interval", "network_alone", "linear_alone")
    result = {
        "command": "python benchmarks/demo.py",
        "machine": record["machine"],
        "test": {key: metrics["test"][key] for key in keep},
        "baseline": {name: scores["macro_f1"] for name, scores in metrics["baseline"].items()},
        "careless": metrics["careless"],
        "int8": metrics["int8"],
        "cost": metrics["cost"],
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
