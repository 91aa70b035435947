"""Downloads from a server that breaks off, serves ranges, serves pages in place of files, and serves wrong bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_files import celeba_names, gray_jpeg, write_cifar10, write_mnist, write_svhn
from ganzoo_datasets import celeba, downloads
from ganzoo_datasets.celeba import CelebA
from ganzoo_datasets.configs import CelebAConfig, CIFAR10Config, FashionMNISTConfig, MNISTConfig, SVHNConfig
from ganzoo_datasets.downloads import DownloadError, QuotaError, RemoteFile, fetch
from ganzoo_datasets.torchvision_sets import CIFAR10, MNIST, SVHN, FashionMNIST
from torchvision import datasets as torchvision_datasets

from ganzoo.components.dataset import Dataset
from ganzoo.data.packed_dataset import PackedDataset, pack_dataset
from ganzoo.errors import DataError

CONTENT = np.random.default_rng(0).bytes(100_000)
QUOTA = (
    "<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body><p>Sorry, you can't view or "
    "download this file at this time.</p><p>Too many users have viewed or downloaded this file recently.</p></body>"
)


class Server(ThreadingHTTPServer):
    """Serves `files`, and keeps what it was asked for; each of `ends` cuts one answer off after so many bytes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.pages: dict[str, tuple[int, str]] = {}
        self.ends: list[int] = []
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.asked.append((self.path, asked))
        path = self.path.partition("?")[0]
        if self.path in self.server.pages or path not in self.server.files:
            status, page = self.server.pages.get(self.path, (404, "<html><title>Not &lt;found&gt;</title></html>"))
            return self.answer(status, page.encode(), "text/html; charset=utf-8")
        content = self.server.files[path]
        if not (asked and self.server.ranges):
            return self.answer(200, content)
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            return self.answer(416, b"", **{"Content-Range": f"bytes */{len(content)}"})
        part = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self.answer(206, content[start:], **{"Content-Range": part})

    def answer(self, status: int, body: bytes, kind: str = "application/octet-stream", **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": kind, "Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        end = self.server.ends.pop(0) if self.server.ends else len(body)
        self.wfile.write(body[:end])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(downloads, "FIRST_WAIT", 0)
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def file(server: Server, tmp_path: Path) -> RemoteFile:
    server.files["/a.bin"] = CONTENT
    return RemoteFile(tmp_path / "folder" / "a.bin", md5(CONTENT), (f"{server.url}/a.bin",))


def part(file: RemoteFile) -> Path:
    return file.path.with_name("a.bin.part")


def test_a_file_is_downloaded_once(server: Server, file: RemoteFile):
    fetch(file)
    fetch(file)
    assert file.path.read_bytes() == CONTENT
    assert server.asked == [("/a.bin", None)]
    assert [path.name for path in file.path.parent.iterdir()] == ["a.bin"]


def test_a_connection_that_breaks_off_is_resumed(server: Server, file: RemoteFile):
    server.ends = [30_000, 20_000, 0, 10_000]
    fetch(file)
    assert file.path.read_bytes() == CONTENT
    starts = [None, "bytes=30000-", "bytes=50000-", "bytes=50000-", "bytes=60000-"]
    assert [asked for _, asked in server.asked] == starts


def test_a_later_run_goes_on_where_the_first_gave_up(server: Server, file: RemoteFile):
    server.ends = [40_000] + [0] * downloads.ATTEMPTS
    with pytest.raises(DownloadError, match=r"after 0\.0 of 0\.1 MB, after 0\.0 MB, from where the next run goes on"):
        fetch(file)
    assert part(file).read_bytes() == CONTENT[:40_000]
    assert not file.path.exists()
    server.asked.clear()
    fetch(file)
    assert server.asked == [("/a.bin", "bytes=40000-")]
    assert file.path.read_bytes() == CONTENT


def test_a_server_without_ranges_begins_anew(server: Server, file: RemoteFile):
    server.ranges = False
    server.ends = [30_000, 70_000]
    fetch(file)
    assert file.path.read_bytes() == CONTENT
    assert len(server.asked) == 3


@pytest.mark.parametrize("left", [CONTENT, CONTENT + b"more", CONTENT[:-1] + b"x", b"junk" * 100], ids=len)
def test_what_an_earlier_run_left(server: Server, file: RemoteFile, left: bytes):
    """All of the file, more than it, and bytes that are not of it."""
    file.path.parent.mkdir()
    part(file).write_bytes(left)
    fetch(file)
    assert file.path.read_bytes() == CONTENT
    assert not part(file).exists()


def test_wrong_bytes_are_refused(server: Server, file: RemoteFile):
    server.files["/a.bin"] = CONTENT[::-1]
    with pytest.raises(DownloadError, match=rf"a\.bin: what came is corrupted: not of MD5 {md5(CONTENT)}"):
        fetch(file)
    assert list(file.path.parent.iterdir()) == []


def test_a_wrong_file_is_replaced(server: Server, file: RemoteFile):
    file.path.parent.mkdir()
    file.path.write_bytes(b"something else")
    fetch(file)
    assert file.path.read_bytes() == CONTENT


def test_a_page_without_its_type_is_told(server: Server, file: RemoteFile):
    server.files["/a.bin"] = b"<html>please log in to the wireless network</html>"
    with pytest.raises(DownloadError, match="a web page came in its place"):
        fetch(file)


def test_the_quota_page_is_told_and_is_not_the_file(server: Server, file: RemoteFile):
    server.pages["/a.bin"] = 200, QUOTA
    with pytest.raises(QuotaError, match="its quota for this file is used up for some hours"):
        fetch(file)
    assert list(file.path.parent.iterdir()) == []


def test_a_quota_page_keeps_what_came_before(server: Server, file: RemoteFile):
    server.ends = [40_000] + [0] * downloads.ATTEMPTS
    with pytest.raises(DownloadError):
        fetch(file)
    server.pages["/a.bin"] = 403, QUOTA
    with pytest.raises(QuotaError):
        fetch(file)
    assert part(file).stat().st_size == 40_000


def test_the_question_about_viruses_is_answered(server: Server, file: RemoteFile):
    server.files["/download"] = CONTENT
    server.pages["/a.bin"] = (
        200,
        f'<html><form id="download-form" action="{server.url}/download" method="get"><input type="submit" '
        'value="Download anyway"/><input type="hidden" name="id" value="0B7"><input type="hidden" name="uuid" '
        'value="a&amp;b"></form></html>',
    )
    fetch(file)
    assert file.path.read_bytes() == CONTENT
    assert server.asked[-1] == ("/download?id=0B7&uuid=a%26b", None)


def test_a_form_leads_to_no_file_of_this_machine(server: Server, file: RemoteFile, tmp_path: Path):
    (tmp_path / "secret").write_bytes(CONTENT)
    server.pages["/a.bin"] = 200, f'<form id="download-form" action="file://{tmp_path}/secret"></form>'
    with pytest.raises(DownloadError, match="a web page came in its place"):
        fetch(file)


def test_another_address_is_tried(server: Server, file: RemoteFile):
    both = RemoteFile(file.path, file.md5, (f"{server.url}/gone", *file.urls))
    fetch(both)
    assert file.path.read_bytes() == CONTENT
    file.path.unlink()
    with pytest.raises(DownloadError, match=r'gone: a web page "Not <found>" came in its place with HTTP 404; .*404'):
        fetch(RemoteFile(file.path, file.md5, (f"{server.url}/gone", f"{server.url}/lost")))


def test_a_busy_server_is_asked_again(server: Server, file: RemoteFile):
    server.pages["/a.bin"] = 503, "<html>busy</html>"
    with pytest.raises(DownloadError, match="HTTP 503 Service Unavailable"):
        fetch(file)
    assert len(server.asked) == downloads.ATTEMPTS


def test_progress_is_shown(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    content = bytes(3_000_000)
    server.files["/big.zip"] = content
    fetch(RemoteFile(tmp_path / "big.zip", md5(content), (f"{server.url}/big.zip",)))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "downloading big.zip, MB 0/3"
    assert lines[-1] == "downloading big.zip, MB 3/3"


# Each dataset once


def prepare(dataset: Dataset, tmp_path: Path) -> PackedDataset:
    return pack_dataset(dataset, cache=tmp_path / "cache")


def serve_mnist(name: str) -> Callable[[Server, Path, pytest.MonkeyPatch], int]:
    def serve(server: Server, place: Path, monkeypatch: pytest.MonkeyPatch) -> int:
        write_mnist(place, name)
        kind = getattr(torchvision_datasets, name)
        resources = []
        for path in sorted((place / name / "raw").iterdir(), key=lambda path: "labels" in path.name):
            content = gzip.compress(path.read_bytes(), mtime=0)
            server.files[f"/{path.name}.gz"] = content
            resources.append((f"{path.name}.gz", md5(content)))
        monkeypatch.setattr(kind, "resources", resources)
        monkeypatch.setattr(kind, "mirrors", [f"{server.url}/gone/", f"{server.url}/"])
        return 12

    return serve


def serve_cifar10(server: Server, place: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    write_cifar10(place)
    kind, file = torchvision_datasets.CIFAR10, io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        archive.add(place / kind.base_folder, kind.base_folder)
    server.files["/cifar-10-python.tar.gz"] = file.getvalue()
    monkeypatch.setattr(kind, "url", f"{server.url}/cifar-10-python.tar.gz")
    monkeypatch.setattr(kind, "tgz_md5", md5(file.getvalue()))
    for part in ("train_list", "test_list"):
        sums = [[name, md5((place / kind.base_folder / name).read_bytes())] for name, _ in getattr(kind, part)]
        monkeypatch.setattr(kind, part, sums)
    meta = (place / kind.base_folder / "batches.meta").read_bytes()
    assert pickle.loads(meta)
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": md5(meta)})
    return 20


def serve_svhn(server: Server, place: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    place.mkdir()
    write_svhn(place)
    content = (place / "train_32x32.mat").read_bytes()
    server.files["/train_32x32.mat"] = content
    listed = {"train": [f"{server.url}/train_32x32.mat", "train_32x32.mat", md5(content)]}
    monkeypatch.setattr(torchvision_datasets.SVHN, "split_list", listed)
    return 5


SETS: dict[str, tuple[Any, Any, Callable[[Server, Path, pytest.MonkeyPatch], int]]] = {
    "mnist": (MNIST, MNISTConfig, serve_mnist("MNIST")),
    "fashion_mnist": (FashionMNIST, FashionMNISTConfig, serve_mnist("FashionMNIST")),
    "cifar10": (CIFAR10, CIFAR10Config, serve_cifar10),
    "svhn": (SVHN, SVHNConfig, serve_svhn),
}


@pytest.mark.parametrize("name", SETS)
def test_datasets(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    """Broken off once and resumed, unpacked by torchvision, and not asked for again."""
    kind, config, serve = SETS[name]
    count = serve(server, tmp_path / "original", monkeypatch)
    server.ends = [100]
    dataset = kind(config(root=str(tmp_path / "data")))
    assert len(prepare(dataset, tmp_path)) == count
    server.asked.clear()
    assert len(prepare(dataset, tmp_path)) == count
    assert server.asked == []


def test_a_wrong_archive_of_a_dataset(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    serve_svhn(server, tmp_path / "original", monkeypatch)
    server.files["/train_32x32.mat"] = CONTENT
    with pytest.raises(DataError, match=r"SVHN cannot be downloaded .*corrupted"):
        prepare(SVHN(SVHNConfig(root=str(tmp_path))), tmp_path)


# CelebA

COUNT = 6
NAMES = celeba_names(COUNT)
ATTRIBUTES = f"{COUNT}\nSmiling Male \n" + "".join(f"{name}  1 -1\n" for name in NAMES)
PARTITION = "".join(f"{name} {max(0, number - 3)}\n" for number, name in enumerate(NAMES))


def faces() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number, name in enumerate(NAMES, start=1):
            archive.writestr(f"img_align_celeba/{name}", gray_jpeg(20 * number))
    return file.getvalue()


@pytest.fixture
def drive(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server in the place of Google Drive, with CelebA of six faces."""
    contents = {
        "img_align_celeba.zip": faces(),
        "list_attr_celeba.txt": ATTRIBUTES.encode(),
        "list_eval_partition.txt": PARTITION.encode(),
    }
    server.files |= {f"/{name}": content for name, content in contents.items()}
    monkeypatch.setattr(celeba, "_ON_GOOGLE_DRIVE", {name: (name, md5(text)) for name, text in contents.items()})
    monkeypatch.setattr(celeba, "google_drive", lambda identifier: (f"{server.url}/{identifier}", f"{server.url}/uc"))
    monkeypatch.setattr(celeba, "COMPLETE", COUNT)
    return server


def celeba_in(root: Path, **options: Any) -> CelebA:
    return CelebA(CelebAConfig(root=str(root), image_size=8, **options))


def grays(packed: PackedDataset) -> list[int]:
    return [round(value / 20) for value in packed.images.mean(axis=(1, 2, 3)).tolist()]


def test_celeba_is_downloaded(drive: Server, tmp_path: Path):
    drive.ends = [1000]
    packed = prepare(celeba_in(tmp_path / "data"), tmp_path)
    assert grays(packed) == [1, 2, 3, 4, 5, 6]
    assert [path for path, _ in drive.asked] == ["/img_align_celeba.zip"] * 2
    packed = prepare(celeba_in(tmp_path / "data", split="test", attribute="Smiling"), tmp_path)
    assert grays(packed) == [6]
    assert packed.labels.tolist() == [1]
    assert [path for path, _ in drive.asked[2:]] == ["/list_eval_partition.txt", "/list_attr_celeba.txt"]


def test_celebas_quota_is_told_with_the_other_ways(drive: Server, tmp_path: Path):
    drive.pages["/img_align_celeba.zip"] = 200, QUOTA
    with pytest.raises(DataError) as error:
        prepare(celeba_in(tmp_path / "data"), tmp_path)
    for words in (
        "cannot be downloaded from Google Drive (its quota for this file is used up",
        "try again in a day",
        "--set dataset.source=huggingface",
        "mmlab.ie.cuhk.edu.hk",
        "kaggle.com",
        str(tmp_path / "data"),
    ):
        assert words in str(error.value)


def test_celebas_list_that_cannot_be_downloaded(drive: Server, tmp_path: Path):
    drive.pages["/list_eval_partition.txt"] = 403, QUOTA
    with pytest.raises(DataError, match=r'dataset\.split = "test" needs .*; it cannot be downloaded .*quota'):
        prepare(celeba_in(tmp_path / "data", split="test"), tmp_path)


def write_parquet(folder: Path, *, names: bool = True, image: str = "image") -> None:
    """The Hub's form: images as files of bytes and paths, one boolean column an attribute, a file or two each split."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder.mkdir(parents=True)
    for split, shards in {"train": [[1, 2], [3, 4]], "valid": [[5]], "test": [[6]]}.items():
        for shard, numbers in enumerate(shards):
            paths = [NAMES[number - 1] if names else None for number in numbers]
            images = [{"bytes": gray_jpeg(20 * n), "path": path} for n, path in zip(numbers, paths, strict=True)]
            smiling = [number % 2 == 0 for number in numbers]
            columns = {image: images, "celeb_id": numbers, "Smiling": smiling, "Male": [False] * len(numbers)}
            path = folder / f"{split}-{shard:05d}-of-{len(shards):05d}.parquet"
            parquet.write_table(pyarrow.table(columns), path)


def check_unpacked(root: Path, tmp_path: Path) -> None:
    assert grays(prepare(celeba_in(root), tmp_path)) == [1, 2, 3, 4, 5, 6]
    with zipfile.ZipFile(root / "celeba" / "img_align_celeba.zip") as archive:
        assert archive.read("img_align_celeba/000003.jpg") == gray_jpeg(60)
    packed = prepare(celeba_in(root, split="train", attributes="all"), tmp_path)
    assert grays(packed) == [1, 2, 3, 4]
    assert packed.info.labels.names == ("Smiling", "Male")
    assert packed.labels.tolist() == [[0, 0], [1, 0], [0, 0], [1, 0]]


@pytest.mark.parametrize("names", [True, False])
def test_celebas_parquet_files_are_taken(drive: Server, tmp_path: Path, names: bool):
    write_parquet(tmp_path / "data" / "celeba" / "img_align+identity+attr", names=names)
    check_unpacked(tmp_path / "data", tmp_path)
    assert drive.asked == []
    left = [path.name for path in (tmp_path / "data" / "celeba").iterdir() if path.is_file()]
    assert sorted(left) == ["img_align_celeba.zip", "list_attr_celeba.txt", "list_eval_partition.txt"]


@pytest.mark.slow
def test_celeba_from_the_hub(drive: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hub = pytest.importorskip("huggingface_hub")

    def download(repository: str, *, repo_type: str, allow_patterns: str, local_dir: Path) -> None:
        assert (repository, repo_type, allow_patterns) == ("flwrlabs/celeba", "dataset", "*.parquet")
        write_parquet(local_dir / "img_align+identity+attr")

    monkeypatch.setattr(hub, "snapshot_download", download)
    root = tmp_path / "data"
    assert len(prepare(celeba_in(root, source="huggingface"), tmp_path)) == COUNT
    assert [path.name for path in root.iterdir()] == ["celeba"]
    check_unpacked(root, tmp_path)


def test_the_hub_that_cannot_be_reached(drive: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hub = pytest.importorskip("huggingface_hub")

    def download(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(hub, "snapshot_download", download)
    with pytest.raises(DataError, match=r"flwrlabs/celeba \(no route to host\): try again, which goes on"):
        prepare(celeba_in(tmp_path / "data", source="huggingface"), tmp_path)


@pytest.mark.parametrize("package", ["huggingface_hub", "pyarrow"])
def test_the_hub_without_the_extra(drive: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str):
    if package == "pyarrow":
        write_parquet(tmp_path / "data" / "celeba" / "parquet")
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(DataError, match=r'pip install "\./plugins/ganzoo-datasets\[huggingface\]"'):
        prepare(celeba_in(tmp_path / "data", source="huggingface"), tmp_path)


def test_parquet_files_that_are_not_whole(drive: Server, tmp_path: Path):
    folder = tmp_path / "data" / "celeba" / "parquet"
    write_parquet(folder)
    path = folder / "train-00001-of-00002.parquet"
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:40] + bytes(400) + content[440:], b"", b"<html>"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"train-00001-of-00002\.parquet is damaged .*: download it again"):
            prepare(celeba_in(tmp_path / "data"), tmp_path)
    path.unlink()
    with pytest.raises(DataError, match='holds 1 of 2 parquet files of CelebA\'s split "train": add the others'):
        prepare(celeba_in(tmp_path / "data"), tmp_path)
    assert [each.name for each in folder.parent.iterdir()] == ["parquet"]


def test_parquet_files_of_another_dataset(drive: Server, tmp_path: Path):
    write_parquet(tmp_path / "data" / "celeba" / "parquet", image="photo")
    with pytest.raises(DataError, match="is damaged or not one of CelebA's"):
        prepare(celeba_in(tmp_path / "data"), tmp_path)
