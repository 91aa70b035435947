"""Execute docs/notebooks/first_gan.ipynb, and write it with its outputs as docs/pages/notebook.md.

python docs/notebook.py
"""

from __future__ import annotations

import base64
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

DOCS = Path(__file__).parent
NOTEBOOK = DOCS / "notebooks" / "first_gan.ipynb"
PAGE = DOCS / "pages" / "notebook.md"
IMAGES = PAGE.parent / "images"
SECONDS = 600


def executed(folder: Path) -> Any:
    """The notebook with its outputs, run in a folder."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    place = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=SECONDS, resources=place, coalesce_streams=True)
    client.execute(env={**os.environ, "GANZOO_CACHE": str(folder / "cache")})
    return notebook


def source_of(cell: Any) -> str:
    """A cell as the page has it: text, or a block of code, with the file that it writes as its title."""
    if cell.cell_type == "markdown":
        return cell.source.replace("../pages/", "")
    file, code = re.fullmatch(r"(?:%%writefile (\S+)\n)?(.*)", cell.source, re.DOTALL).groups()
    title = f' title="{file}"' if file else ""
    return f"```python{title}\n{code}\n```"


def output_of(output: Any, name: str) -> str:
    """An output of a cell as the page has it; pictures are written as files beginning with `name`."""
    if output.output_type == "stream":
        return f"```text\n{output.text.rstrip()}\n```"
    html = output.data.get("text/html", "")
    animation = re.fullmatch(r'<img src="data:image/gif;base64,(.*)">', html)
    for suffix, data in (("gif", animation and animation[1]), ("png", output.data.get("image/png"))):
        if data:
            file = IMAGES / f"{name}.{suffix}"
            file.write_bytes(base64.b64decode(data))
            return f"![What the cell shows](images/{file.name})"
    return html or f"```text\n{output.data['text/plain']}\n```"


def page(notebook: Any) -> str:
    """The page of an executed notebook; writes its pictures."""
    parts = []
    for number, cell in enumerate(notebook.cells):
        parts.append(source_of(cell))
        outputs = [each for each in cell.get("outputs", []) if not str(each.get("text", "")).startswith("Writing ")]
        parts += [output_of(each, f"notebook-{number}") for each in outputs]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(page(executed(Path(folder))), encoding="utf-8")
