"""The trained controllers that come with this package, each by its name FAMILY/METHOD."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from metarl.core.errors import Refusal

TRAINED = Path(__file__).parent.parent / "pretrained"
COMMITS = "commits.json"
SUFFIX = ".safetensors"
CONTROLLER = "controller.safetensors"  # in the folder of a run


def pretrained_files(folder: Path = TRAINED) -> dict[str, Path]:
    """Return the files FAMILY/METHOD.safetensors of a folder by their names FAMILY/METHOD."""
    files = sorted(folder.glob(f"*/*{SUFFIX}"))
    return {file.relative_to(folder).as_posix().removesuffix(SUFFIX): file for file in files}


def filed_by(name: str) -> str | None:
    """Return the commit that filed a pretrained controller, None if the record is of another file of that name."""
    record = json.loads((TRAINED / COMMITS).read_text()).get(name)
    digest = hashlib.sha256(pretrained_files()[name].read_bytes()).hexdigest()
    return str(record["commit"]) if record is not None and record["sha256"] == digest else None


def ships(path_or_name: str | Path) -> bool:
    """Return whether a name is a pretrained controller's, and no file or run's folder of that path comes before it."""
    file = pretrained_files().get(Path(path_or_name).as_posix())
    return file is not None and find_controller(path_or_name) == file


def find_controller(path_or_name: str | Path) -> Path:
    """Return the file of a controller: at this path, in this folder, or the pretrained one of this name.

    A path with a controller file's ending is returned as it is. Raise ValueError if the folder holds no controller, or
    if there is neither a file nor a pretrained controller of that name, with the names there are.
    """
    path = Path(path_or_name)
    try:
        if path.is_file() or path.suffix == SUFFIX:
            return path
        if (path / CONTROLLER).is_file():
            return path / CONTROLLER
        files = pretrained_files()
        if path.as_posix() in files:
            return files[path.as_posix()]
        if path.is_dir():
            raise Refusal(f"this is a folder, and there is no {CONTROLLER} in it")
    except OSError as error:
        raise Refusal(f"cannot be read: {error.strerror or error}") from None
    raise Refusal(f"there is no such file, nor a pretrained controller of that name: those are {', '.join(files)}")
