"""The trained controllers that come with this package, each by its name FAMILY/METHOD."""

from __future__ import annotations

from pathlib import Path

TRAINED = Path(__file__).parent.parent / "pretrained"
SUFFIX = ".safetensors"


def shipped(folder: Path = TRAINED) -> dict[str, Path]:
    """The files FAMILY/METHOD.safetensors of a folder by their names, which are the paths without the ending."""
    files = sorted(folder.glob(f"*/*{SUFFIX}"))
    return {file.relative_to(folder).as_posix().removesuffix(SUFFIX): file for file in files}


def controller_file(file_or_name: str | Path) -> Path:
    """The file at this path if there is one, else that of the shipped controller of this name.

    ValueError lists the names; a path with a controller file's ending is taken for a file, and returned as it is.
    """
    path = Path(file_or_name)
    if path.is_file() or path.suffix == SUFFIX:
        return path
    files = shipped()
    if path.as_posix() not in files:
        raise ValueError(f"there is no such file, nor a shipped controller of that name: those are {', '.join(files)}")
    return files[path.as_posix()]
