"""Shakespeare's plays by characters at nanoGPT's CPU setting, beside a plain PyTorch loop. About 9 minutes on 2 cores.

python benchmarks/shakespeare.py        (YANMO_DATA names the folder of the data sets; default ../shared/data)

The setting (https://github.com/karpathy/nanoGPT, "I only have a macbook"): 4 layers, 4 heads, 128 wide, 64 characters of context, 2,000
steps of 12 rows, no dropout; the first nine tenths of the text are trained on, the last is scored. The rival is what one would write with
torch alone: the same GPT-2, `scaled_dot_product_attention`, fused AdamW, random windows, no logs. Both in float32 on all cores, and Yanmo
once more in bfloat16; alternated, each run a process of its own, timed from its start to its end: with imports, reading, one scoring and
the saved model. nanoGPT's learning rate is 1e-3; that of both here is the best of 1e-3, 2e-3, 3e-3 and 4e-3 by the loss of Yanmo's run on
the last tenth of the training part.
Writes medians into benchmarks/results/shakespeare.json. Losses are nats a character; Yanmo's has the end of the text beside its characters.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a run from anywhere

HERE = Path(__file__).parent
RESULT = HERE / "results" / "shakespeare.json"
DATA = Path(os.environ.get("YANMO_DATA", HERE.parents[1] / "shared" / "data")) / "lm" / "tinyshakespeare" / "input.txt"
ROUNDS, STEPS, ROWS, CONTEXT = 3, 2000, 12, 64
LAYERS, HEADS, WIDTH = 4, 4, 128
RATE, LEAST, WARMUP, DECAY = 4e-3, 4e-4, 100, 0.1

YANMO = f"""
pretrain data.train=train.jsonl data.dev=dev.jsonl run=run model.family=gpt2 model.size=tiny
model.config={{resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0, n_positions: {CONTEXT + 1}}}
tokenizer.kind=character objective.max_length={CONTEXT + 1} train.steps={STEPS} train.batch_tokens={ROWS * (CONTEXT + 1)}
train.lr={RATE} train.warmup={WARMUP / STEPS} train.weight_decay={DECAY} train.schedule=cosine train.evaluations=1 samples.count=0
"""
PRECISIONS = {"yanmo": "float32", "yanmo_bfloat16": "bfloat16"}


def words(precision: str) -> list[str]:
    """The command's words: parted by spaces that do not stand in brackets or behind ": " or ", "."""
    line = " ".join(f"{YANMO} machine.precision={precision}".split()).replace(": ", ":\0").replace(", ", ",\0")
    return [word.replace("\0", " ") for word in line.split()]


def write_texts(folder: Path) -> None:
    """Each part is one document, so that its lines are read on and on."""
    text = DATA.read_text("utf-8")
    cut = int(0.9 * len(text))
    for name, part in (("train", text[:cut]), ("dev", text[cut:])):
        (folder / f"{name}.jsonl").write_text(json.dumps({"text": part}) + "\n", "utf-8")


def told(folder: Path) -> dict[str, float]:
    """What Yanmo's run says of itself."""
    metrics = json.loads((folder / "run" / "metrics.json").read_text("utf-8"))
    cost = metrics["cost"]
    return {"loss": metrics["dev"]["loss"], "training_seconds": cost["seconds"], "parameters": cost["parameters"]}


def plain(folder: Path) -> dict[str, float]:
    """The rival, in this process."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            self.projection, self.output = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
            self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows, size, _ = x.shape
            parts = self.projection(self.first(x)).split(WIDTH, -1)
            q, k, v = (part.view(rows, size, HEADS, WIDTH // HEADS).transpose(1, 2) for part in parts)
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.output(mixed.transpose(1, 2).reshape(rows, size, WIDTH))
            return x + self.down(F.gelu(self.up(self.second(x)), approximate="tanh"))

    class Gpt(nn.Module):
        def __init__(self, vocabulary: int) -> None:
            super().__init__()
            self.word, self.position = nn.Embedding(vocabulary, WIDTH), nn.Embedding(CONTEXT, WIDTH)
            self.layers = nn.Sequential(*(Layer() for _ in range(LAYERS)))
            self.norm = nn.LayerNorm(WIDTH)
            for name, parameter in self.named_parameters():
                if parameter.ndim > 1:
                    writes = name.endswith(("output.weight", "down.weight"))
                    nn.init.normal_(parameter, 0.0, 0.02 / math.sqrt(2 * LAYERS) if writes else 0.02)
                elif name.endswith("bias"):
                    nn.init.zeros_(parameter)

        def loss(self, ids: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
            x = self.word(ids) + self.position.weight[: ids.shape[1]]
            logits = F.linear(self.norm(self.layers(x)), self.word.weight)
            return F.cross_entropy(logits.view(-1, logits.shape[-1]), following.reshape(-1))

    def rate(step: int) -> float:
        if step < WARMUP:
            return RATE * (step + 1) / (WARMUP + 1)
        return LEAST + 0.5 * (RATE - LEAST) * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))

    torch.manual_seed(0)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    texts = [json.loads((folder / f"{name}.jsonl").read_text("utf-8"))["text"] for name in ("train", "dev")]
    numbers = {character: id for id, character in enumerate(sorted(set("".join(texts))))}
    train, dev = (torch.tensor([numbers[character] for character in text]) for text in texts)
    model = Gpt(len(numbers))
    matrices, vectors = ([p for p in model.parameters() if (p.ndim > 1) is wide] for wide in (True, False))
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.99), fused=True)
    window = torch.arange(CONTEXT + 1)
    began = time.monotonic()
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = rate(step)
        rows = train[torch.randint(len(train) - CONTEXT, (ROWS, 1)) + window]
        loss = model.loss(rows[:, :-1], rows[:, 1:])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    with torch.inference_mode():
        rows = dev[: (len(dev) - 1) // CONTEXT * CONTEXT].view(-1, CONTEXT)
        after = dev[1 : rows.numel() + 1].view(-1, CONTEXT)
        parts = [model.loss(ids, to) * len(ids) for ids, to in zip(rows.split(250), after.split(250), strict=True)]
    seconds = time.monotonic() - began
    torch.save(model.state_dict(), folder / "model.pt")
    total = float(sum(parts)) / len(rows)
    return {"loss": total, "training_seconds": seconds, "parameters": sum(p.numel() for p in model.parameters())}


def timed(name: str) -> dict[str, float]:
    """One run in a process of its own."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_texts(folder)
        path = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
        ours = name in PRECISIONS
        line = ["-m", "yanmo", *words(PRECISIONS[name])] if ours else [__file__, "plain", made]
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, *line],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            check=True,
            stdout=subprocess.PIPE,
        )
        seconds = time.monotonic() - began
        found = told(folder) if ours else json.loads(done.stdout)
        print(
            name,
            f"{seconds:.1f} s, of these training {found['training_seconds']:.1f} s; loss {found['loss']:.3f}",
            file=sys.stderr,
        )
        return {"seconds": seconds, **found}


def main() -> None:
    if sys.argv[1:2] == ["plain"]:
        print(json.dumps(plain(Path(sys.argv[2]))))
        return
    if not DATA.is_file():
        sys.exit(f"{DATA}: the plays are not there; set YANMO_DATA")
    from yanmo import machine

    runs: dict[str, list[dict[str, float]]] = {name: [] for name in (*PRECISIONS, "plain")}
    for _ in range(ROUNDS):
        for name, found in runs.items():
            found.append(timed(name))
    result: dict[str, Any] = {
        "command": "python benchmarks/shakespeare.py",
        "yanmo_command": "yanmo " + " ".join(words("float32")),
        "steps": STEPS,
        "rounds": ROUNDS,
    }
    for name, found in runs.items():
        result[name] = {key: round(statistics.median(run[key] for run in found), 4) for key in found[0]}
    for key in ("seconds", "training_seconds"):
        for name in PRECISIONS:
            result[name][f"{key}_of_plain"] = round(result[name][key] / result["plain"][key], 3)
    result["machine"] = machine.fingerprint()
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
