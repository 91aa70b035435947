"""Weights of the authors' pickles: they make the images that they should, and hostile files run nothing."""

from __future__ import annotations

import builtins
import os
import pickle
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import authors_files
import literal_stylegan2 as literal
import pytest
import torch
from ganzoo_stylegan import pickle_reader
from ganzoo_stylegan.authors_pickle import state_of
from ganzoo_stylegan.pickle_reader import Module, read_pickle
from torch.nn import functional as F

from ganzoo import api
from ganzoo.errors import RequestError
from ganzoo.plugin import CodeError


def snapshot(path: Path, *, labels: int = 0, size: int = 16, **options: Any) -> Path:
    networks = {
        "G": literal.generator_state(size, labels=labels),
        "D": literal.discriminator_state(size, labels=labels),
        "G_ema": {
            key: value + 0.1 if value.ndim < 2 else value
            for key, value in literal.generator_state(size, labels=labels).items()
        },
    }
    return authors_files.write(path, networks, **options)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_imported_networks_are_those_of_the_file(tmp_path: Path, protocol: int) -> None:
    source = snapshot(tmp_path / "network.pkl", group=2, protocol=protocol)
    found: list[Any] = []
    run = api.import_run(source, tmp_path / "run", report=found.append)
    z, images = torch.randn(3, 5), torch.randn(4, 3, 16, 16)
    state = {k: v + 0.1 if v.ndim < 2 else v for k, v in literal.generator_state(16).items()}
    with torch.no_grad():
        assert torch.allclose(run.generator(z), literal.generate(state, z), atol=1e-4)
        theirs = literal.judge(literal.discriminator_state(16), images, group=2)
        assert torch.allclose(run.discriminator(images), theirs, atol=1e-4)
        half = run.sampled_with({"generator.sampling.truncation": 0.5})
        assert torch.allclose(half.generator(z), literal.generate(state, z, psi=0.5), atol=1e-4)
    assert run.sample(4).shape == (4, 3, 16, 16)
    assert run.discriminator.deviation.group == 2
    rows = {row.source: row.target for row in found[0].assignments}
    assert rows["G_ema.synthesis.b8.conv0.affine.weight"] == "generator.layers.1.affine.weight"
    assert "G_ema" in found[0].notes[1]


def test_imported_conditional_networks_are_those_of_the_file(tmp_path: Path) -> None:
    run = api.import_run(snapshot(tmp_path / "network.pkl", labels=3), tmp_path / "run")
    z, labels = torch.randn(3, 5), torch.tensor([2, 0, 1])
    state = {k: v + 0.1 if v.ndim < 2 else v for k, v in literal.generator_state(16, labels=3).items()}
    with torch.no_grad():
        theirs = literal.generate(state, z, F.one_hot(labels, 3).float())
        assert torch.allclose(run.generator(z, labels=labels), theirs, atol=1e-4)
    assert run.info.class_names == ("0", "1", "2")


def test_half_precision_and_no_discriminator_are_said(tmp_path: Path) -> None:
    state = {key: value.half() for key, value in literal.generator_state(8).items()}
    found: list[Any] = []
    run = api.import_run(
        authors_files.write(tmp_path / "g.pkl", {"G_ema": state}), tmp_path / "run", report=found.append
    )
    assert run.generator.constant.dtype == torch.float32
    assert {row.change for row in found[0].assignments} == {"from torch.float16"}
    assert "holds no discriminator" in found[0].notes[2]


def refused(source: Path, tmp_path: Path, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        api.import_run(source, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_networks_that_these_cannot_be_are_refused(tmp_path: Path) -> None:
    states = literal.generator_state(16)
    other = {**states, "synthesis.b8.resample_filter": torch.ones(4, 4)}
    refused(authors_files.write(tmp_path / "a.pkl", {"G": other}), tmp_path, "another filter")
    missing = {key: value for key, value in states.items() if "b8.torgb" not in key}
    refused(authors_files.write(tmp_path / "b.pkl", {"G": missing}), tmp_path, r"no synthesis\.b8\.torgb\.weight")
    extra = {**states, "synthesis.input.freqs": torch.ones(2)}
    refused(authors_files.write(tmp_path / "c.pkl", {"G": extra}), tmp_path, "no such tensor")
    refused(authors_files.write(tmp_path / "d.pkl", {"D": literal.discriminator_state(8)}), tmp_path, "no generator")
    two = {"G": states, "D": literal.discriminator_state(8)}
    refused(authors_files.write(tmp_path / "e.pkl", two), tmp_path, "generator of 16 pixels and a discriminator of 8")
    odd = literal.generator_state(16)
    odd["synthesis.b16.conv1.weight"] = torch.randn(3, 4, 3, 3)
    refused(authors_files.write(tmp_path / "f.pkl", {"G": odd}), tmp_path, "channels|shape")
    flat = {**states, "mapping.embed.weight": torch.ones(3)}
    refused(authors_files.write(tmp_path / "g.pkl", {"G": flat}), tmp_path, r"no mapping\.embed\.weight")


def test_other_files_are_of_no_known_form(tmp_path: Path) -> None:
    for name, content in (("a.pkl", b"no pickle"), ("b.pkl", pickle.dumps({"a": 1}))):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, tmp_path, "no importer knows this form")


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


MARK = b"torch_utils.persistence"
HOSTILE = {
    os.system.__module__ + ".system": lambda path: pickle.dumps(Call(os.system, f"touch {path}")),
    "builtins.eval": lambda path: pickle.dumps(Call(eval, f"open({str(path)!r}, 'w')")),
    "builtins.exec": lambda path: pickle.dumps({"G": [Call(exec, f"open({str(path)!r}, 'w')")]}),
    open.__module__ + ".open": lambda path: pickle.dumps(Call(open, str(path), "w")),
    "builtins.getattr": lambda path: b"\x80\x04cbuiltins\ngetattr\n(X\x01\x00\x00\x00aX\x01\x00\x00\x00btR.",
    "copyreg._reconstructor": lambda path: (
        b"\x80\x02ccopyreg\n_reconstructor\n(c__main__\nA\nc__builtin__\nobject\nNtR."
    ),
    "torch.load": lambda path: b"\x80\x02ctorch\nload\n(X\x01\x00\x00\x00atR.",
    "torch.serialization._get_restore_location": lambda path: (
        b"\x80\x02ctorch.serialization\n_get_restore_location\n(X\x01\x00\x00\x00atR."
    ),
    "numpy.core.multiarray._reconstruct": lambda path: b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n.",
    "nt.system": lambda path: b"\x80\x04\x8c\x02nt\x8c\x06system\x93\x8c\x02id\x85R.",
    "the opcode EXT1": lambda path: b"\x80\x02\x82\x01.",
    "the opcode INST": lambda path: b"(S'id'\nios\nsystem\n.",
    "the opcode OBJ": lambda path: b"(ccollections\nOrderedDict\no.",
    "the opcode BINPERSID": lambda path: b"\x80\x02X\x01\x00\x00\x00aQ.",
    "sets the state of dict": lambda path: b"\x80\x02}}b.",
    "sets the state of Named": lambda path: b"\x80\x02ccollections\nOrderedDict\n}b.",
    "calls dict": lambda path: b"\x80\x02})R.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_code_is_refused_by_its_name_and_not_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = tmp_path / "ran"
    content = HOSTILE[name](trace)
    monkeypatch.setattr(builtins, "__import__", forbidden_import(builtins.__import__))
    with pytest.raises(CodeError, match=name.replace("INST", "STRING")):
        read_pickle(content)
    monkeypatch.undo()
    assert not trace.exists()
    source = tmp_path / "network.pkl"
    source.write_bytes(b"\x80\x02X\x17\x00\x00\x00" + MARK + b"0" + content.removeprefix(b"\x80\x02"))
    refused(source, tmp_path, r"network\.pkl: ")
    assert not trace.exists()


def forbidden_import(original: Any) -> Any:
    def guarded(name: str, *arguments: Any, **options: Any) -> Any:
        assert name not in ("posix", "nt", "subprocess", "__main__"), name
        return original(name, *arguments, **options)

    return guarded


def storage(kind: bytes, count: int, data: bytes) -> bytes:
    """The memory of a tensor as `torch.save` wrote it before 1.6, of `count` values, with these bytes."""
    key = b"(X\x07\x00\x00\x00storagectorch\n" + kind + b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    number = b"\x8a\x08" + struct.pack("<q", count)
    heads = [pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2), pickle.dumps({}, 2)]
    return b"".join(
        [*heads, b"\x80\x02" + key + number + b"NtQ.", pickle.dumps(["0"], 2), struct.pack("<q", count), data]
    )


def tensor(memory: bytes, size: str, stride: str, offset: int = 0) -> bytes:
    loaded = b"ctorch.storage\n_load_from_bytes\n(B" + struct.pack("<I", len(memory)) + memory + b"tR"
    sizes, strides = ("".join(f"I{number}\n" for number in each.split()) for each in (size, stride))
    shape = f"I{offset}\n({sizes}t({strides}t"
    return b"\x80\x03ctorch._utils\n_rebuild_tensor_v2\n(" + loaded + shape.encode() + b"I00\nNtR."


def test_a_tensor_is_read_with_its_strides() -> None:
    values = torch.arange(12, dtype=torch.float32)
    read = read_pickle(tensor(storage(b"FloatStorage", 12, values.numpy().tobytes()), "3 2", "1 6", 1))
    assert torch.equal(read, values.as_strided((3, 2), (1, 6), 1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tensor(storage(b"FloatStorage", 10**12, b"\0" * 16), "2 2", "2 1"), "another size"),
        (tensor(storage(b"FloatStorage", 4, b"\0" * 16), "1000000 1000000", "0 0"), "value by value"),
        (tensor(storage(b"FloatStorage", 4, b"\0" * 16), "2 2", "5 1"), "larger than its memory"),
        (tensor(storage(b"FloatStorage", 4, b"\0" * 16), "2 2", "2 1", 3), "larger than its memory"),
        (tensor(storage(b"FloatStorage", 4, b"\0" * 16), "-2 2", "2 1"), "no such shape"),
        (tensor(storage(b"QInt8Storage", 4, b"\0" * 4), "2 2", "2 1"), "QInt8Storage"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"abc.", "damaged|expected"),
        (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"abc.", "damaged|expected"),
        (b"\x80\x02" + b"]" * 100_001 + b".", "opcodes"),
        (b"\x80\x02]r\xff\xff\xff\xffh\x01.", "damaged"),
        (b"\x80\x02" + b"I1\n" + b"2\x86" * 400 + b"}" + b"q\x00(h\x00" + b"tR.", "calls|damaged"),
        (b"\x80\x02}q\x00I1\n" + b"2\x86" * 200 + b"I2\ns.", "key of type tuple"),
        (b"\x80\x02", "exhausted"),
        (b"\x80\x02.", "damaged"),
        (b"\x80\x02(.", "damaged"),
        (b"\x80\x02a.", "damaged"),
    ],
)
def test_bombs_and_damage_are_refused_at_once_in_little_memory(
    content: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pickle_reader.MOST_OPCODES == 2_000_000
    monkeypatch.setattr(pickle_reader, "MOST_OPCODES", 100_000)
    tracemalloc.start()
    begun = time.monotonic()
    try:
        with pytest.raises(ValueError, match=message):
            read_pickle(content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 400 * len(content) + 2**20
    assert time.monotonic() - begun < 60


def test_a_large_index_of_the_memo_takes_no_memory() -> None:
    tracemalloc.start()
    assert read_pickle(b"\x80\x02]r\xff\xff\xff\x7f.") == []
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_networks_within_themselves_or_with_shared_memory_are_refused(tmp_path: Path) -> None:
    loop = Module("Generator", {})
    loop.state["_modules"] = {"again": loop}
    with pytest.raises(ValueError, match="within itself"):
        state_of(loop, 10**6)
    shared = Module("Generator", {"_parameters": {str(number): torch.zeros(100) for number in range(10)}})
    assert len(state_of(shared, 4_000)) == 10
    with pytest.raises(ValueError, match="share their memory"):
        state_of(shared, 3_999)
