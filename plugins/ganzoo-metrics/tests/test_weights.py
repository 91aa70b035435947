"""Weights of extractors: found, fetched from a server, refused where they are damaged, others, or run code."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from ganzoo_metrics import weights
from ganzoo_metrics.weights import check_hash, downloaded, load_tensors
from safetensors.torch import save_file

from ganzoo.errors import DataError


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a server of `tmp_path`/served on this machine."""
    (tmp_path / "served").mkdir()
    serving = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served")))
    Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serving.server_address[1]}"
    serving.shutdown()
    serving.server_close()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch keeps downloads."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def test_first_use_downloads_and_later_ones_need_no_server(tmp_path: Path, hub: Path, server: str):
    served = tmp_path / "served" / "net.pth"
    torch.save({"a": torch.ones(2)}, served)
    prefix = hashlib.sha256(served.read_bytes()).hexdigest()[:8]
    first = downloaded(f"{server}/net.pth", "the weights", "weights", prefix)
    served.unlink()
    again = downloaded(f"{server}/net.pth", "the weights", "weights", prefix)
    assert first == again == hub / "net.pth"
    assert torch.equal(load_tensors(first, "the weights")["a"], torch.ones(2))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("{server}/absent.pth", "HTTP Error 404"),
        ("http://127.0.0.1:9/net.pth", "refused"),
        ("{server}/net.pth", "hash"),
    ],
)
def test_what_cannot_be_fetched_is_one_line_with_the_cure(
    tmp_path: Path, hub: Path, server: str, url: str, reason: str
):
    (tmp_path / "served" / "net.pth").write_bytes(b"something else")
    url = url.format(server=server)
    with pytest.raises(DataError) as raised:
        downloaded(url, "the weights of X", "weights under [[there]]", "00112233")
    message = str(raised.value)
    assert reason in message
    assert "\n" not in message
    assert message.startswith("the weights of X cannot be downloaded (")
    assert message.endswith(
        f"fetch {url} where there is a network, and put it at {hub / url.rpartition('/')[2]}, "
        f"or name its place with weights under [[there]]"
    )
    assert not list(hub.glob("*"))


def test_a_server_that_says_nothing_is_given_up(hub: Path, monkeypatch: pytest.MonkeyPatch):
    import socket

    monkeypatch.setattr(weights, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(DataError, match="timed out"):
        downloaded(f"http://127.0.0.1:{silent.getsockname()[1]}/net.pth", "it", "weights", "00")
    assert socket.getdefaulttimeout() is None


def test_a_file_of_another_sum_is_refused(tmp_path: Path):
    path = tmp_path / "net.pth"
    path.write_bytes(b"abc")
    check_hash(path, "it", hashlib.sha256(b"abc").hexdigest()[:8])
    with pytest.raises(DataError, match=r"net\.pth: is not it, or is damaged: its SHA-256 begins with ba7816bf"):
        check_hash(path, "it", "00000000")
    with pytest.raises(DataError, match="cannot be read there: No such file"):
        check_hash(tmp_path / "absent", "it", "00")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('it ran')",))


def test_nothing_but_tensors_is_loaded(tmp_path: Path):
    save_file({"a": torch.ones(2)}, tmp_path / "good.safetensors")
    assert load_tensors(tmp_path / "good.safetensors", "it").keys() == {"a"}
    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Evil()))
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    torch.save({"a": 3}, tmp_path / "number.pth")
    (tmp_path / "torn.safetensors").write_bytes(b"\x10")
    (tmp_path / "empty.pth").touch()
    for name in ("evil.pth", "evil.pkl", "list.pth", "number.pth", "torn.safetensors", "empty.pth", "absent.pth"):
        with pytest.raises(DataError, match=rf"{name}: it cannot be read there"):
            load_tensors(tmp_path / name, "it")
