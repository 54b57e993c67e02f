# SPDX-License-Identifier: Apache-2.0
"""What a GPU records: a chunk as a function of fixed buffers, tested on any device; graphs themselves where there is a
GPU.
"""

import contextlib
import copy
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from rove_learning.config import NEGATIVE, POSITIVE, ActorConfig, BackboneConfig, CriticConfig
from rove_learning.inference import checkpoint, chunk_graph
from rove_learning.inference.execution import cause
from rove_learning.models.actor import Actor
from rove_learning.models.backbone import Pictures
from rove_learning.models.critic import Critic
from rove_learning.models.guidance import sample
from rove_learning.models.realtime import soft_mask

synthetic_vlm = pytest.importorskip("rove_learning.testing.synthetic_vlm")

TEXT = "erase the whiteboard"
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    def config(kind, write, **values):
        path = write(tmp_path_factory.mktemp(kind))
        return BackboneConfig(kind=kind, path=str(path), dtype="float32", **values)

    return {
        "qwen3vl": config("qwen3vl", synthetic_vlm.write_qwen3vl, image_size=64),
        "vlac": config("vlac", synthetic_vlm.write_vlac, image_size=56, layer=3),
        "compact": BackboneConfig(image_size=48),
    }


def make(config, critic_config=None, seed=0):
    torch.manual_seed(seed)
    actor = Actor(ActorConfig(backbone=config, width=32, layers=2, heads=2)).eval().requires_grad_(False)
    critic = Critic(CriticConfig(backbone=critic_config or config, width=16, heads=2)).eval().requires_grad_(False)
    for head in (actor.head, critic.head):
        torch.nn.init.normal_(head.out.weight, std=0.1)
    return actor, critic


def policy_of(configs, seed=0, device="cpu", critic=None):
    actor, critic = make(configs["qwen3vl"], critic or replace(configs["qwen3vl"], layer=2), seed)
    return checkpoint.Policy(actor, critic, {"guidance": 1.5}, f"hash{seed}", device)


class Replay:
    """Stands for a recorded graph: writes into the tensors that the recording returned, from the buffers, and knows
    nothing else.
    """

    def __init__(self, static):
        self.static, self.count = static, 0
        static._out = tuple(None if x is None else x.clone() for x in static.eager())

    def replay(self):
        self.count += 1
        for out, new in zip(self.static._out, self.static.eager()):
            if out is not None:
                out.copy_(new)


@pytest.fixture
def recorded_on_cpu(monkeypatch):
    def record(self):
        self._graph = Replay(self)
        self._compare()

    monkeypatch.setattr(chunk_graph.RecordableStep, "record", record)


def observation(seed=0):
    rng = np.random.default_rng(seed)
    known = (rng.standard_normal((50, 50)), soft_mask(50, 4, 30))
    return rng.integers(0, 256, (72, 96, 3), dtype=np.uint8), rng.standard_normal(50), known


@pytest.mark.parametrize("guidance", [1.0, 1.7])
def test_chunks_and_values_from_fixed_buffers_are_those_of_the_ordinary_path(configs, recorded_on_cpu, guidance):
    plain, fast = policy_of(configs), policy_of(configs)
    fast.execution.set_up()
    assert fast.prepare(TEXT, guidance) and not fast.prepare(TEXT, guidance)
    graphs = [static._graph for static in fast.execution._steps.values()]
    assert len(graphs) == 2 and "one CUDA graph per chunk" in str(fast.execution) and not fast.execution.note
    for seed, with_known in enumerate(
        (False, True, False)
    ):  # the last: nothing of the given steps stays in the buffers
        image, q, known = observation(seed)
        chunks = [
            policy.act_and_value(
                image, q, TEXT, guidance=guidance, rng=np.random.default_rng(seed), known=known if with_known else None
            )
            for policy in (plain, fast)
        ]
        np.testing.assert_array_equal(chunks[0][0], chunks[1][0])
        assert chunks[0][1] == chunks[1][1]
        np.testing.assert_array_equal(*(policy.act(image, q, TEXT, guidance=guidance) for policy in (plain, fast)))
        assert plain.value(image, TEXT) == fast.value(image, TEXT)
    assert [graph.count for graph in graphs] == [1 + 6, 1 + 3], "every chunk and value came from a graph"


def test_given_steps_of_weight_zero_are_no_given_steps(configs):
    actor, _ = make(configs["qwen3vl"])
    image = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    inputs = {"images": image, "state": torch.randn(1, 50), "noise": torch.randn(1, 50, 50)}
    free = sample(actor, Pictures(image, [TEXT], ([NEGATIVE], [POSITIVE])), inputs["state"], inputs["noise"], 1.7)
    static = chunk_graph.chunk_step(actor, TEXT, 1.7)
    assert torch.equal(static(**inputs)[0], free)
    given = static(
        **inputs, known=torch.randn(1, 50, 50), weight=torch.from_numpy(soft_mask(50, 4, 30)).float()[None, :, None]
    )[0]
    assert not torch.equal(given, free) and torch.equal(static(**inputs)[0], free)


def test_a_reloaded_policy_on_the_same_backbone_leaves_the_first_one_s_chunks(configs, recorded_on_cpu):
    first, second, plain = policy_of(configs), policy_of(configs, seed=1), [policy_of(configs, seed) for seed in (0, 1)]
    assert first.actor.backbone.model is second.actor.backbone.model
    for policy in (first, second):
        policy.execution.set_up()
        policy.prepare(TEXT)
    image, q, _ = observation()
    for policy, other in zip((first, second, first), (*plain, plain[0])):
        np.testing.assert_array_equal(policy.act(image, q, TEXT), other.act(image, q, TEXT))


def test_another_instruction_runs_before_it_is_recorded_and_old_ones_are_dropped(configs, recorded_on_cpu):
    plain, fast = policy_of(configs), policy_of(configs)
    fast.execution.set_up()
    image, q, _ = observation()
    for number in range(10):
        text = f"take part {number} out of the box"
        np.testing.assert_array_equal(fast.act(image, q, text), plain.act(image, q, text))
        fast.prepare(text)
        np.testing.assert_array_equal(fast.act(image, q, text), plain.act(image, q, text))
    assert (
        len(fast.execution._steps) == 16 and not fast.execution.missing(text, 1.5) and fast.execution.missing(TEXT, 1.5)
    )


def fail(self):
    try:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")
    finally:
        raise RuntimeError("capture was invalidated")


def test_where_nothing_can_be_recorded_it_says_why_once_and_goes_on(configs, monkeypatch):
    plain, fast = policy_of(configs), policy_of(configs)
    monkeypatch.setattr(chunk_graph.RecordableStep, "record", fail)
    fast.execution.set_up()
    assert fast.prepare(TEXT)
    assert (
        "could be recorded" in fast.execution.note
        and "operation not permitted when stream is capturing" in fast.execution.note
    )
    assert "and more" not in fast.execution.note and "operation by operation" in str(fast.execution)
    assert not fast.prepare(TEXT) and not fast.prepare("another one"), "it is not tried again"
    image, q, known = observation()
    assert np.array_equal(fast.act(image, q, TEXT, known=known), plain.act(image, q, TEXT, known=known))


def test_a_critic_that_cannot_be_recorded_leaves_the_chunk_s_graph(configs, monkeypatch):
    plain, fast = (policy_of(configs, critic=configs["vlac"]) for _ in range(2))
    record = lambda self: setattr(self, "_graph", Replay(self)) if "noise" in self.buffers else fail(self)  # noqa: E731
    monkeypatch.setattr(chunk_graph.RecordableStep, "record", record)
    fast.execution.set_up()
    fast.prepare(TEXT)
    assert "graph of a value" in fast.execution.note and "one CUDA graph per chunk" in str(fast.execution)
    image, q, _ = observation()
    (a, v), (b, w) = (policy.act_and_value(image, q, TEXT) for policy in (plain, fast))
    assert np.array_equal(a, b) and v == w


def test_on_a_cpu_asking_for_graphs_is_answered_in_words(configs):
    policy = policy_of(configs)
    policy.execution.set_up()
    policy.prepare(TEXT)
    assert "CUDA graphs need a GPU, the model is on cpu" in policy.execution.note


class Stream:
    def wait_stream(self, other):
        pass


class FakeCuda:
    """torch.cuda as far as recording goes. A recording that fails ends in another error and leaves its stream in force,
    as torch's does.
    """

    def __init__(self, monkeypatch, static):
        self.static, self.current, self.modes = static, Stream(), []
        replaced = {
            "device": lambda device: contextlib.nullcontext(),
            "current_stream": lambda: self.current,
            "Stream": Stream,
            "stream": self.stream,
            "set_stream": lambda stream: setattr(self, "current", stream),
            "CUDAGraph": lambda: self,
            "graph": self.graph,
        }
        for name, value in replaced.items():
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(chunk_graph.RecordableStep, "device", torch.device("cuda"))

    @contextlib.contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream
        yield
        self.current = before

    @contextlib.contextmanager
    def graph(self, graph, stream, capture_error_mode):
        assert graph is self and chunk_graph.RECORDING.locked()
        self.modes.append(capture_error_mode)
        before, self.current = self.current, stream
        try:
            yield
        except RuntimeError:
            raise RuntimeError("capture was invalidated") from None
        self.current = before

    def replay(self):
        for out, new in zip(self.static._out, self.static.eager()):
            out.copy_(new)


@pytest.mark.parametrize("broken", [False, True])
def test_a_recording_warms_up_on_its_own_stream_and_gives_the_caller_s_back_also_when_it_fails(monkeypatch, broken):
    streams = []

    def step(x):
        streams.append(cuda.current)
        if broken and len(streams) > chunk_graph.WARM_UP:
            raise RuntimeError("operation not permitted when stream is capturing")
        return (2.0 * x,)

    static = chunk_graph.RecordableStep(step, {"x": torch.zeros(3)})
    cuda = FakeCuda(monkeypatch, static)
    caller = cuda.current
    if broken:
        with pytest.raises(RuntimeError) as error:
            static.record()
        assert cause(error.value) == "operation not permitted when stream is capturing" and not static.recorded
    else:
        static.record()
        assert static.recorded and static(x=torch.ones(3))[0].tolist() == [2.0] * 3
    assert cuda.current is caller and not chunk_graph.RECORDING.locked() and cuda.modes == ["thread_local"]
    beside = streams[: chunk_graph.WARM_UP + 1]
    assert len(beside) == chunk_graph.WARM_UP + 1 and set(beside) == {beside[0]} != {caller}


def test_a_graph_that_kept_an_input_of_its_recording_is_refused(configs):
    static = chunk_graph.chunk_step(make(configs["qwen3vl"])[0], TEXT, 1.7)
    static._graph = Replay(static)
    static._compare()
    static._graph.replay = lambda: None
    with pytest.raises(RuntimeError, match="differs from the operations it was recorded from"):
        static._compare()
    assert not static.recorded


def test_wrong_inputs_are_refused_by_name(configs):
    static = chunk_graph.value_step(make(configs["compact"])[1], TEXT)
    with pytest.raises(ValueError, match=r"expected images \(1, 48, 48, 3\), got \(1, 8, 8, 3\)"):
        static(images=torch.zeros(1, 8, 8, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="expected images; got state too"):
        static(state=torch.zeros(1, 50))


class OnDevice(TorchDispatchMode):
    """Collects operations that take or give tensors of two devices: copies from the CPU, indexing by a list, reading
    back.
    """

    def __init__(self):
        super().__init__()
        self.mixed = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        flat = [x for part in (*args, out) for x in (part if isinstance(part, (list, tuple)) else [part])]
        if len({x.device.type for x in flat if isinstance(x, torch.Tensor)}) > 1:
            self.mixed.append(str(function))
        return out


class FromPython(TorchFunctionMode):
    """Collects what the mode above does not see: tensors made of Python numbers, and indexing by lists, on another
    device than the CPU.
    """

    def __init__(self):
        super().__init__()
        self.made = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if function in (torch.tensor, torch.as_tensor, torch.asarray) and out.device.type != "cpu":
            self.made.append(function.__name__)
        if function in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and args[0].device.type != "cpu":
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(
                isinstance(part, (list, np.ndarray)) or (isinstance(part, torch.Tensor) and part.device.type == "cpu")
                for part in index
            ):
                self.made.append("index")
        return out


def watched(static):
    """What a pass after warm-up copies between devices, and what it returns."""
    static.eager()
    with OnDevice() as device, FromPython() as python:
        out = static.eager()
    return device.mixed + python.made, out


@pytest.mark.parametrize("kind", ["qwen3vl", "vlac", "compact"])
def test_after_warm_up_a_chunk_copies_nothing_from_the_host_and_reads_nothing_back(configs, kind):
    """On the meta device, where reading a value or indexing by a mask raises."""
    config = configs[kind]
    actor, critic = (
        copy.deepcopy(model).to("meta")
        for model in make(config, replace(config, layer=2) if kind == "qwen3vl" else config)
    )
    copied, (chunk, value) = watched(chunk_graph.chunk_step(actor, TEXT, 1.7, critic if kind == "qwen3vl" else None))
    assert copied == [] and chunk.is_meta and chunk.shape == (1, 50, 50) and (value is not None) == (kind == "qwen3vl")
    assert watched(chunk_graph.value_step(critic, TEXT))[0] == []


def test_the_watch_itself_sees_copies_and_lists():
    def step(x):
        return x[[1, 0]] + torch.ones(2).to("meta"), torch.tensor([1.0], device="meta")

    assert watched(chunk_graph.RecordableStep(step, {"x": torch.zeros(2, device="meta")}))[0] == [
        "aten._to_copy.default",
        "index",
        "tensor",
    ]
    with pytest.raises(RuntimeError):
        watched(chunk_graph.RecordableStep(lambda x: (x[x > 0],), {"x": torch.zeros(2, device="meta")}))


# Precision and compilation


def test_the_last_layer_and_values_stay_float32_in_bfloat16(configs):
    exact, rough = policy_of(configs), policy_of(configs)
    rough.execution.set_up(graphs=False, precision="bfloat16")
    head = rough.actor.head
    assert (
        head.out.weight.dtype == torch.float32
        and head.blocks[0].mlp[0].weight.dtype == head.position.dtype == torch.bfloat16
    )
    assert all(p.dtype == torch.float32 for p in rough.critic.parameters())
    image, q, _ = observation()
    (a, v), (b, w) = (policy.act_and_value(image, q, TEXT, rng=np.random.default_rng(0)) for policy in (exact, rough))
    assert 0.0 < np.abs(a - b).mean() < 0.02 * np.abs(a).mean() and v == w
    assert len(np.unique(b.astype(np.float32))) > 2400, "bfloat16 would have few steps"


def test_under_autocast_heads_answer_in_float32(configs):
    actor, critic = make(configs["compact"])
    image = torch.randint(0, 256, (4, 48, 48, 3), dtype=torch.uint8)
    exact = critic(Pictures(image, [TEXT] * 4))
    with torch.autocast("cpu", torch.bfloat16):
        assert critic.head.project(torch.zeros(1, 128)).dtype == torch.bfloat16
        value = critic(Pictures(image, [TEXT] * 4))
        chunk = sample(
            actor,
            Pictures(image[:1], [TEXT], ([NEGATIVE], [POSITIVE])),
            torch.zeros(1, 50),
            torch.zeros(1, 50, 50),
            1.5,
        )
    assert value.dtype == chunk.dtype == torch.float32
    assert (value - exact).abs().max() < 0.02 and not torch.equal(value, value.bfloat16().float())


def test_compiled_layers_compute_the_same_and_a_compiler_that_is_missing_is_said(configs):
    plain, compiled, none = (policy_of(configs) for _ in range(3))
    image, q, _ = observation()
    expected = plain.act_and_value(image, q, TEXT)
    compiled.execution.set_up(graphs=False, compile="eager")  # traced as for any backend, without waiting for one
    assert compiled.prepare(TEXT) and not compiled.prepare(TEXT)
    assert "layers compiled" in str(compiled.execution) and not compiled.execution.note
    chunk, value = compiled.act_and_value(image, q, TEXT)
    np.testing.assert_allclose(chunk, expected[0], atol=1e-5)
    assert value == pytest.approx(expected[1], abs=1e-5)
    none.execution.set_up(graphs=False, compile="no_such_compiler")
    none.prepare(TEXT)
    assert "torch.compile failed, the layers run as they are" in none.execution.note and "compiled" not in str(
        none.execution
    )
    np.testing.assert_array_equal(none.act(image, q, TEXT), expected[0])


def test_the_cause_of_an_error_is_the_first_one():
    with pytest.raises(RuntimeError) as error:
        fail(None)
    assert cause(error.value) == "operation not permitted when stream is capturing"


# On a GPU


@GPU
@pytest.mark.parametrize("kind", ["qwen3vl", "vlac", "compact"])
@pytest.mark.parametrize("beta", [1.0, 1.7])
def test_a_cuda_graph_computes_what_the_operations_do(configs, kind, beta):
    config = configs[kind]
    actor, critic = (m.cuda() for m in make(config, replace(config, layer=2) if kind == "qwen3vl" else config))
    static = chunk_graph.chunk_step(actor, TEXT, beta, critic if kind == "qwen3vl" else None)
    plain = chunk_graph.chunk_step(actor, TEXT, beta, critic if kind == "qwen3vl" else None)
    static.record()
    size = config.image_size
    for seed in range(4):
        torch.manual_seed(seed)
        inputs = {
            "images": torch.randint(0, 256, (1, size, size, 3), dtype=torch.uint8),
            "state": torch.randn(1, 50),
            "noise": torch.randn(1, 50, 50),
        }
        if seed % 2:
            inputs |= {
                "known": torch.randn(1, 50, 50),
                "weight": torch.from_numpy(soft_mask(50, 4, 30)).float()[None, :, None],
            }
        for a, b in zip(static(**inputs), plain(**inputs)):
            assert a is b is None or torch.allclose(a, b, atol=1e-4)


@GPU
def test_on_a_gpu_a_policy_runs_as_a_graph_in_bfloat16_and_agrees_with_float32(configs):
    plain, fast = policy_of(configs, device="cuda"), policy_of(configs, device="cuda")
    fast.execution.set_up()
    fast.prepare(TEXT)
    assert "one CUDA graph per chunk" in str(fast.execution) and not fast.execution.note
    image, q, known = observation()
    for given in (None, known):
        (a, v), (b, w) = (
            p.act_and_value(image, q, TEXT, rng=np.random.default_rng(0), known=given) for p in (plain, fast)
        )
        assert np.abs(a - b).mean() < 0.03 * np.abs(a).mean() and v == pytest.approx(w, abs=0.02)


@GPU
def test_a_recording_that_fails_leaves_the_gpu_usable():
    stream, static = (
        torch.cuda.current_stream(),
        chunk_graph.RecordableStep(lambda x: (x * float(x.sum()),), {"x": torch.ones(3, device="cuda")}),
    )
    with pytest.raises(RuntimeError):
        static.record()
    assert torch.cuda.current_stream() == stream
    assert static(x=torch.full((3,), 2.0))[0].tolist() == [12.0] * 3


@GPU
def test_another_policy_is_recorded_while_one_computes(configs):
    first, second = policy_of(configs, device="cuda"), policy_of(configs, seed=1, device="cuda")
    image, q, _ = observation()
    expected, failures, stop = first.act(image, q, TEXT), [], threading.Event()

    def infer():
        while not stop.is_set():
            if not np.allclose(first.act(image, q, TEXT), expected, atol=1e-3):
                failures.append("another chunk")

    thread = threading.Thread(target=infer)
    thread.start()
    try:
        second.execution.set_up()
        second.prepare(TEXT)
    finally:
        stop.set()
        thread.join()
    assert not failures and not second.execution.note
