# SPDX-License-Identifier: Apache-2.0
"""What guidance costs: an action chunk guided in one pass, beside unguided, a batch of two and two passes.

    python bench/guidance.py [--quick]

On a CPU: a random Qwen3-VL and flow-matching head of about 70 M parameters, in the proportions of Qwen3-VL-4B with a
16-layer head of width 1024 (vision 8 %, head 10 % of the text layers' weights), float32. On a GPU also the full-size
architecture in bfloat16 with random weights: milliseconds per chunk, eager and as one CUDA graph, and memory.

The prefix (picture, chat template, instruction) has 100 or 300 tokens; a condition adds 5 to 9. "unguided": the
positive condition alone in the sequence, one branch of the head. "one pass": prefix and both conditions in one sequence
with a tree mask, the head's keys and values of the prefix shared, both branches of the head a batch of two. "shared
prefix cache": the prefix once through the text layers, then both conditions as a batch of two on its keys and values,
as language models are usually served. "batch of two" and "two passes" share nothing. All guided ways compute the same
chunk. Each round runs all ways, in turn; the ratio is the median over rounds of times of one round. Times are the
process' CPU time on a CPU, which other load hardly changes, and wall time on a GPU. Prints a table, then one JSON
line. On a GPU of the H100 class the target is <= 15 ms guided as a CUDA graph.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch
from transformers import DynamicCache

from rove_learning.config import NEGATIVE, POSITIVE, ActorConfig, BackboneConfig
from rove_learning.inference.chunk_graph import chunk_step
from rove_learning.models.actor import Actor
from rove_learning.models.backbone import Context, Pictures
from rove_learning.models.guidance import guide, sample
from rove_learning.models.qwen3vl import Qwen3VLBackbone
from rove_learning.testing import synthetic_vlm

BETA = 1.5
IMAGE_SIZE = {100: 256, 300: 544}  # px: 64 and 289 picture tokens; the rest is text
MID = {
    "text": {
        "hidden_size": 512,
        "num_hidden_layers": 16,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "intermediate_size": 1920,
        "mrope_section": [12, 10, 10],
        "vocab_size": 1024,
    },
    "vision": {
        "depth": 8,
        "hidden_size": 256,
        "num_heads": 4,
        "intermediate_size": 1024,
        "deepstack_visual_indexes": [1, 3, 5],
    },
}
QUICK = {
    "text": MID["text"] | {"num_hidden_layers": 4},
    "vision": MID["vision"] | {"depth": 3, "deepstack_visual_indexes": [0, 1, 2]},
}
HEAD = {
    "cpu": {"width": 192, "layers": 8, "heads": 4, "mlp_ratio": 4},
    "cuda": {"width": 1024, "layers": 16, "heads": 16, "mlp_ratio": 4},
}


def make_actor(tokens: int, device: str, model, tokenizer, quick: bool) -> tuple[Actor, str]:
    """An actor on a random backbone, and an instruction that makes its prefix `tokens` long."""
    config = BackboneConfig(kind="qwen3vl", image_size=IMAGE_SIZE[tokens], text_bytes=512)
    backbone = Qwen3VLBackbone(config, model, tokenizer)
    text = ""
    while len(backbone.prompt(text)) < tokens:
        text += "xy z"[len(text) % 4]
    torch.manual_seed(0)
    head = HEAD[device] | ({"layers": 2} if quick and device == "cpu" else {})
    actor = Actor(ActorConfig(backbone=config, **head), backbone=backbone).eval().requires_grad_(False)
    torch.nn.init.normal_(actor.head.out.weight, std=0.02)
    return actor, text


def observation(actor: Actor, image, text: str) -> Pictures:
    return Pictures(image, [text], ([NEGATIVE], [POSITIVE]))


@torch.no_grad()
def unguided(actor: Actor, image, text: str, state, noise):
    """The positive condition alone: what a policy without guidance computes."""
    context = actor.backbone(image, [text], ([POSITIVE],))
    prepared = actor.head.prepare(context, context.conditions[0])
    x, steps = noise, actor.config.euler_steps
    visible = torch.ones(1, dtype=torch.bool, device=x.device)
    for i in range(steps):
        t = torch.full((1,), i / steps, device=x.device)
        x = x + actor.velocity(x, t, state, visible, prepared) / steps
    return x


@torch.no_grad()
def shared_prefix_cache(actor: Actor, image, text: str, state, noise):
    """Guidance as language models are served: keys and values of the prefix once, both conditions as a batch of two on
    them.
    """
    model, conditions = actor.backbone, ([NEGATIVE], [POSITIVE])
    tree = model.tree([text], conditions, image.device)
    p, m = tree.prefix, (tree.ids.shape[1] - tree.prefix) // 2
    cache = DynamicCache(config=model.text.config)
    picture, added = model.see(image)
    prefix = model.text.embed_tokens(tree.ids[:, :p])
    prefix[:, model.image_slices[0]] = picture.to(prefix.dtype)
    prefix = run_text(model, prefix, tree.positions[:, :, :p], tree.attention[..., :p, :p], cache, added)
    cache.batch_repeat_interleave(2)
    ends = [slice(p + j * m, p + (j + 1) * m) for j in range(2)]
    attention = torch.stack([torch.cat([tree.attention[0, :, e, :p], tree.attention[0, :, e, e]], -1) for e in ends])
    positions = torch.cat([tree.positions[:, :, e] for e in ends], dim=1)
    words = model.text.embed_tokens(torch.cat([tree.ids[:, e] for e in ends]))
    words = run_text(model, words, positions, attention, cache, [])
    context = Context(model.text.norm(prefix), tree.visible[:, :p])
    visible = torch.cat([tree.visible[:, e] for e in ends])
    prepared = actor.head.prepare(context, (model.text.norm(words), visible))
    return integrate(actor, [prepared], state.expand(2, -1), noise)


def run_text(model, hidden, positions, attention, cache, added):
    """The text layers on `hidden` (B, n, D), behind what the cache holds."""
    rotary = model.text.rotary_emb(hidden, positions if len(positions) > 1 else positions[0])
    for i, block in enumerate(model.text.layers):
        hidden = block(hidden, attention_mask=attention, position_embeddings=rotary, past_key_values=cache)
        if i < len(added):
            hidden[:, model.image_slices[0]] += added[i]
    return hidden


@torch.no_grad()
def batch_of_two(actor: Actor, image, text: str, state, noise):
    """Guidance with nothing shared: two rows through backbone and head."""
    context = actor.backbone(image.expand(2, -1, -1, -1), [text] * 2, ([NEGATIVE, POSITIVE],))
    prepared = actor.head.prepare(context, context.conditions[0])
    return integrate(actor, [prepared], state.expand(2, -1), noise)


@torch.no_grad()
def two_passes(actor: Actor, image, text: str, state, noise):
    """Guidance with nothing shared: one branch after the other."""
    prepared = []
    for condition in (NEGATIVE, POSITIVE):
        context = actor.backbone(image, [text], ([condition],))
        prepared.append(actor.head.prepare(context, context.conditions[0]))
    return integrate(actor, prepared, state, noise)


def integrate(actor: Actor, prepared: list, state, noise):
    """Euler steps of `guidance.sample`; prepared: one entry for both branches as a batch, or one for each."""
    x, steps, rows = noise, actor.config.euler_steps, 2 // len(prepared)
    visible = torch.ones(rows, dtype=torch.bool, device=x.device)
    for i in range(steps):
        t = torch.full((rows,), i / steps, device=x.device)
        v = torch.cat([actor.velocity(x.expand(rows, -1, -1), t, state, visible, part) for part in prepared])
        x = x + guide(v[:1], v[1:], BETA) / steps
    return x


def measure(ways: dict, seconds: float, device: str) -> tuple[dict[str, float], dict[str, float]]:
    """Median ms of each way, and the median ratio to "unguided" within a round. Every way has run before."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    times: dict[str, list[float]] = {name: [] for name in ways}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["unguided"]) < 3:
        for name, way in ways.items():
            begin = clock()
            way()
            if device == "cuda":
                torch.cuda.synchronize()
            times[name].append((clock() - begin) * 1e3)
    ratios = {name: statistics.median(a / b for a, b in zip(times[name], times["unguided"])) for name in ways}
    return {name: statistics.median(values) for name, values in times.items()}, ratios


def row(label: str, ms: dict[str, float], ratios: dict[str, float]) -> None:
    for name in ms:
        print(f"{label:28} {name:28} {ms[name]:9.2f} ms {ratios[name]:6.3f} x")


def run(tokens: int, device: str, model, tokenizer, seconds: float, quick: bool) -> dict:
    actor, text = make_actor(tokens, device, model, tokenizer, quick)
    actor.to(device)
    if device == "cuda":
        actor.head.bfloat16().out.float()  # as `Execution.set_up` does on the robot
        torch.cuda.reset_peak_memory_stats()
    size = actor.backbone.image_size
    image = torch.randint(0, 256, (1, size, size, 3), dtype=torch.uint8, device=device)
    state, noise = torch.randn(1, 50, device=device), torch.randn(1, 50, 50, device=device)
    ask = observation(actor, image, text)
    ways = {
        "unguided": lambda: unguided(actor, image, text, state, noise),
        "guided, one pass": lambda: sample(actor, ask, state, noise, BETA),
        "guided, shared prefix cache": lambda: shared_prefix_cache(actor, image, text, state, noise),
        "guided, batch of two": lambda: batch_of_two(actor, image, text, state, noise),
        "guided, two passes": lambda: two_passes(actor, image, text, state, noise),
    }
    one, *others = (way() for name, way in ways.items() if name != "unguided")
    difference = max(float((one - other).abs().max()) for other in others)
    effect = float((one - ways["unguided"]()).abs().max())
    ms, ratios = measure(ways, seconds, device)
    row(f"{device}, {tokens} tokens", ms, ratios)
    result = {"ms": ms, "ratio": ratios, "max_difference": difference, "max_effect": effect}

    print(
        f"{'':28} largest difference between the guided chunks {difference:.1e}; guided and unguided differ "
        f"by {effect:.1e}"
    )

    # Where the difference goes: the backbone's longer sequence, and the head's second branch.
    parts = {
        "unguided": lambda: actor.backbone(image, [text], ([POSITIVE],)),
        "both conditions": lambda: actor.backbone(image, [text], ask.conditions),
    }
    part_ms, part_ratio = measure(parts, seconds / 4, device)
    print(
        f"{'':28} {'of it the backbone':28} {part_ms['unguided']:9.2f} ms, with both conditions "
        f"{part_ratio['both conditions']:.3f} x"
    )
    result["backbone"] = {"ms": part_ms["unguided"], "ratio": part_ratio["both conditions"]}
    if device == "cuda":
        result["memory_gb"] = {"eager": torch.cuda.max_memory_allocated() / 1e9}
        graphs = {"unguided": chunk_step(actor, text, 1.0), "guided, one pass": chunk_step(actor, text, BETA)}
        for name, graph in graphs.items():
            begin = time.perf_counter()
            graph.record()
            print(f"{'':28} {name} recorded in {time.perf_counter() - begin:.1f} s")
        replay = {name: lambda g=g: g(images=image, state=state, noise=noise)[0] for name, g in graphs.items()}
        result["graph_minus_eager"] = max(float((replay[name]() - ways[name]()).abs().max()) for name in replay)
        ms, ratios = measure(replay, seconds, device)
        row(f"CUDA graph, {tokens} tokens", ms, ratios)
        result["graph"] = {"ms": ms, "ratio": ratios}
        result["memory_gb"]["graphs"] = torch.cuda.max_memory_allocated() / 1e9
        memory = ", ".join(f"{name} {gb:.1f} GB" for name, gb in result["memory_gb"].items())
        print(f"{'':28} graph and eager differ by {result['graph_minus_eager']:.1e}; memory at most: {memory}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="within 30 s: models of a quarter of the depth, fewer rounds"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="measuring time per number of tokens")
    arguments = parser.parse_args()
    seconds = 2.0 if arguments.quick else arguments.seconds
    model, tokenizer = synthetic_vlm.random_qwen3vl(QUICK if arguments.quick else MID, torch.float32)
    results = {
        "threads": torch.get_num_threads(),
        "cpu": {n: run(n, "cpu", model, tokenizer, seconds, arguments.quick) for n in IMAGE_SIZE},
    }
    if torch.cuda.is_available():
        model, tokenizer = synthetic_vlm.random_qwen3vl(synthetic_vlm.QWEN_4B, torch.bfloat16, "cuda")
        results["gpu"] = torch.cuda.get_device_name()
        results["cuda"] = {
            n: run(n, "cuda", model, tokenizer, min(seconds, 1.0 if arguments.quick else 5.0), False)
            for n in IMAGE_SIZE
        }
    else:
        print("no GPU: milliseconds of the full-size model are not measured")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
