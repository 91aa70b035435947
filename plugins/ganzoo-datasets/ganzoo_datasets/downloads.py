"""Download files: resumed where they broke off, checked against their MD5 sums, with progress."""

from __future__ import annotations

import hashlib
import html
import re
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from ganzoo.plugin import count_progress, first_line, open_file
from ganzoo_datasets.files import is_web_page

ATTEMPTS = 5
"""Failures in a row, without a byte between them, after which a download is given up."""
FIRST_WAIT = 1.0
"""Seconds before the second attempt; they double with each."""
TIMEOUT = 30.0
_CHUNK = 2**18
_LARGEST_PAGE = 2**20
_PASSING = {408, 500, 502, 503, 504}
"""HTTP statuses after which it is worth trying again."""
_PART = ".part"


class DownloadError(Exception):
    """A file cannot be downloaded; the text says why."""


class QuotaError(DownloadError):
    """Google Drive's quota for a file is used up."""


class _BrokenOffError(Exception):
    """A connection failed, and may be tried again."""


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes:
        path: where it goes.
        md5: its sum in hexadecimal; None for a file without a known sum.
        urls: addresses, each tried where those before it failed.
    """

    path: Path
    md5: str | None
    urls: tuple[str, ...]


def google_drive(file_id: str) -> tuple[str, str]:
    """Return the address of a file's content on Google Drive, and that of the page which leads to it."""
    query = urlencode({"id": file_id, "export": "download"})
    return (
        f"https://drive.usercontent.google.com/download?{query}&confirm=t",
        f"https://drive.google.com/uc?{query}",
    )


def fetch(file: RemoteFile) -> None:
    """Download a file, unless it is there with the right sum.

    What came so far stays beside it as `NAME.part`, from where the next call goes on.

    Raises:
        DownloadError: no address gives it, or what they give has another sum.
        OSError: it cannot be written.
    """
    if file.path.is_file() and _has_sum(file.path, file.md5):
        return None
    file.path.parent.mkdir(parents=True, exist_ok=True)
    problems: list[DownloadError] = []
    for url in file.urls:
        try:
            return _fetch(url, file)
        except DownloadError as error:
            problems.append(error)
    quota = next((problem for problem in problems if isinstance(problem, QuotaError)), None)
    raise quota or DownloadError("; ".join(dict.fromkeys(map(str, problems))))


def _fetch(url: str, file: RemoteFile) -> None:
    part = file.path.with_name(file.path.name + _PART)
    for resumed in (part.exists(), False):
        _download(url, part)
        if _has_sum(part, file.md5):
            part.replace(file.path)
            return
        what = "a web page came in its place" if is_web_page(part) else f"what came is corrupted: not of MD5 {file.md5}"
        part.unlink()
        if not resumed:  # else another file's start may have been there
            raise DownloadError(f"{url}: {what}")


def _has_sum(path: Path, md5: str | None) -> bool:
    if md5 is None:
        return True
    with open_file(path) as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5


def _download(url: str, part: Path) -> None:
    """Append to `part` until it is whole."""
    failures, wait = 0, FIRST_WAIT
    with count_progress(what=f"downloading {part.name.removesuffix(_PART)}, MB") as progress:
        while True:
            before = _size(part)
            try:
                return _append(url, part, progress)
            except _BrokenOffError as error:
                came = _size(part)
                failures, wait = (0, FIRST_WAIT) if came > before else (failures + 1, wait)
                if failures == ATTEMPTS or isinstance(error.__cause__, socket.gaierror):
                    kept = f", after {came / 1e6:,.1f} MB, from where the next run goes on" if came else ""
                    raise DownloadError(f"{error}{kept}") from error
                time.sleep(wait)
                wait *= 2


def _append(url: str, part: Path, progress: Callable[[int, int], None], *, follow: bool = True) -> None:
    """Ask for what is missing, and append it.

    Raises:
        _BrokenOffError: the connection failed or ended early.
        DownloadError: the server refuses.
    """
    have = _size(part)
    with _open(url, have) as response:
        if response.status == 416:  # nothing comes after what is there
            if response.headers.get("Content-Range", "").endswith(f"/{have}"):
                return
            part.unlink()
            raise _BrokenOffError("more was there than the file has")
        page = response.headers.get_content_type() == "text/html"
        if page or response.status >= 400:
            text = _read(response, _LARGEST_PAGE).decode(errors="replace") if page else ""
            confirmed = _confirmed(text)
            if not (confirmed and follow):
                raise _refusal(response, text)
        else:
            resumes = response.status == 206
            start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            if resumes and not (start and int(start[1]) == have):
                part.unlink(missing_ok=True)
                raise _BrokenOffError("another part came than was asked for")
            _write(response, part, have if resumes else 0, progress)
            return
    _append(confirmed, part, progress, follow=False)


def _write(response: Any, part: Path, have: int, progress: Callable[[int, int], None]) -> None:
    length = response.headers.get("Content-Length")
    total = have + int(length) if length is not None else None
    with part.open("ab" if have else "wb") as file:
        while chunk := _read(response, _CHUNK):
            file.write(chunk)
            have += len(chunk)
            progress(have // 10**6, have // 10**6 + 1 if total is None else total // 10**6)
    if total is not None and have < total:
        raise _BrokenOffError(f"the connection ended after {have / 1e6:,.1f} of {total / 1e6:,.1f} MB")


def _open(url: str, have: int) -> Any:
    headers = {"User-Agent": "ganzoo", "Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        return urlopen(Request(url, headers=headers), timeout=TIMEOUT)  # noqa: S310 - addresses of this package
    except HTTPError as error:
        if error.code in _PASSING:
            raise _BrokenOffError(f"{url}: HTTP {error.code} {error.reason}") from error
        return error
    except URLError as error:
        cause = error.reason if isinstance(error.reason, BaseException) else error
        raise _BrokenOffError(first_line(cause) if cause is not error else str(error.reason)) from cause
    except (OSError, HTTPException) as error:
        raise _BrokenOffError(first_line(error)) from error


def _read(response: Any, count: int) -> bytes:
    try:
        chunk: bytes = response.read(count)
    except (OSError, HTTPException) as error:  # those of the disk are raised elsewhere
        raise _BrokenOffError(first_line(error)) from error
    return chunk


def _refusal(response: Any, page: str) -> DownloadError:
    if re.search("quota|too many users", page, re.IGNORECASE):
        return QuotaError("its quota for this file is used up for some hours, says the page that came in its place")
    title = re.search(r"<title[^>]*>\s*(.*?)\s*</title>", page, re.IGNORECASE | re.DOTALL)
    named = f' "{html.unescape(title[1])[:80]}"' if title else ""
    status = f" with HTTP {response.status}" if response.status >= 400 else ""
    what = f"a web page{named} came in its place" if page else "it was refused"
    return DownloadError(f"{response.url}: {what}{status}")


def _confirmed(page: str) -> str | None:
    """Return the address behind the form with which Google Drive asks about files that it cannot scan for viruses."""
    form = re.search(r'<form[^>]*id="download-form"[^>]*>.*?</form>', page, re.DOTALL)
    action = form and re.search(r'action="([^"]+)"', form[0])
    if not form or not action or not action[1].startswith("http"):
        return None
    fields: Sequence[tuple[str, str]] = re.findall(r'<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"', form[0])
    return html.unescape(action[1]) + "?" + urlencode([(name, html.unescape(value)) for name, value in fields])


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
