"""Checkpoints: tensors in safetensors files, everything else in JSON, and a manifest that is replaced last.

    checkpoint.json              {"format": 1, "files": {GROUP: {"name", "bytes", "sha256"}}}
    weights-5f0c33a1.safetensors
    training-5f0c33a1.safetensors
    values-5f0c33a1.json

A file gets a new name each time and is on the disk before the manifest that names it takes the old one's place; only
then are the old files removed. So a kill at any moment leaves the old checkpoint or the new one, whole.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lsseq.errors import RunError
from lsseq.json_text import parse_json
from lsseq.runs import files

if TYPE_CHECKING:
    from torch import Tensor

Value = TypeVar("Value")

MANIFEST = "checkpoint.json"
FORMAT = 1
VALUES = "values"
_ALIASES = "aliases"
_TRIES = 5


def write_checkpoint(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], values: Mapping[str, Any]) -> None:
    """Put a checkpoint in the place of the one that lies in `folder`.

    Args:
        folder: made where it is missing.
        tensors: the groups, such as `weights` and `training`, each tensors by name. Names in a group that share one
            tensor (tied weights) are stored once.
        values: what JSON can hold. Floats come back exactly, infinities and NaN too; tuples come back as lists.

    Raises:
        OSError: the disk is full or not writable; the old checkpoint is still whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tag = secrets.token_hex(4)
    contents = {f"{group}-{tag}.safetensors": _to_safetensors(named) for group, named in tensors.items()}
    contents[f"{VALUES}-{tag}.json"] = json.dumps(values).encode()
    manifest = {"format": FORMAT, "files": {name.rsplit("-", 1)[0]: _entry(name, c) for name, c in contents.items()}}
    try:
        for name, content in contents.items():
            files.write_new(folder / name, content)
        files.replace(folder / MANIFEST, json.dumps(manifest, indent=2).encode())
    except Exception:
        _tidy(folder)
        raise
    _tidy(folder)


def _tidy(folder: Path) -> None:
    """Remove what the manifest does not name: the old files, or the new ones of a write that failed or was killed."""
    try:
        entries = _manifest(folder)
        kept = {MANIFEST} | {_entry_of(folder, entries, group)[0].name for group in entries}
    except RunError:
        return
    files.remove(path for path in folder.iterdir() if path.name not in kept)


def read_checkpoint(
    folder: Path, groups: Sequence[str] = ("weights",), device: str = "cpu"
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The tensors of the named groups, on `device`, and the values.

    Raises:
        RunError: there is no checkpoint, or a file of it is missing or damaged; the message names the file.
    """
    contents = _read(folder, [*groups, VALUES])
    tensors = {group: _from_safetensors(folder, contents[group], device) for group in groups}
    return tensors, _values(folder, contents)


def read_values(folder: Path) -> dict[str, Any]:
    """The values of a checkpoint alone, without torch. Raises as `read_checkpoint` does."""
    return _values(folder, _read(folder, [VALUES]))


def digest_of(folder: Path, group: str = "weights") -> str:
    """The SHA-256 of a group's file as the manifest states it. Raises RunError where there is no whole manifest."""
    return str(_entry_of(folder, _manifest(folder), group)[2])


def _values(folder: Path, contents: Mapping[str, bytes]) -> dict[str, Any]:
    try:
        values = parse_json(contents[VALUES])
    except ValueError as error:
        raise damaged(folder, f"its values cannot be read ({error})") from error
    if not isinstance(values, dict):
        raise damaged(folder, "its values are no JSON object")
    return values


def _entry(name: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _read(folder: Path, groups: Sequence[str]) -> dict[str, bytes]:
    return _with_manifest(folder, lambda entries: {group: _verified(folder, entries, group) for group in groups})


def _with_manifest(folder: Path, read: Callable[[Mapping[str, Any]], Value]) -> Value:
    """What `read` makes of the entries of the manifest."""
    for attempt in range(_TRIES):
        entries = _manifest(folder)
        try:
            return read(entries)
        except FileNotFoundError as error:
            # A training that goes on may have replaced the checkpoint between the manifest and the file.
            if attempt == _TRIES - 1 or _manifest(folder) == entries:
                raise damaged(Path(error.filename), "it is missing") from error
    raise AssertionError("unreachable")


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = parse_json(path.read_bytes())
        entries: dict[str, Any] = manifest["files"]
        known = manifest["format"] == FORMAT
    except FileNotFoundError as error:
        others = sorted(other.parent.name for other in folder.parent.glob(f"*/{MANIFEST}"))
        run = folder.parent.parent
        raise RunError(
            f"the run {run} has no checkpoint `{folder.name}`",
            hint=f"it has {' and '.join(others)}: --checkpoint {others[0]}" if others else "it was not trained yet",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(path, "it is not the JSON object that it should be") from error
    if not known:
        raise RunError(f"{path} was written by a newer lsseq (format {manifest['format']}, known: {FORMAT})")
    return entries


def _entry_of(folder: Path, entries: Mapping[str, Any], group: str) -> tuple[Path, int, str]:
    """Path, bytes and SHA-256 of a group's file."""
    try:
        name, size, digest = (entries[group][key] for key in ("name", "bytes", "sha256"))
        if Path(name).name != name or name in ("", "..", ".") or "\0" in name:
            raise ValueError("no file beside it")
        return folder / name, size, digest
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(folder / MANIFEST, f"it names no file for `{group}`") from error


def _verified(folder: Path, entries: Mapping[str, Any], group: str) -> bytes:
    path, size, digest = _entry_of(folder, entries, group)
    content = path.read_bytes()
    if len(content) != size:
        raise damaged(path, f"it holds {len(content)} bytes instead of {size}")
    if hashlib.sha256(content).hexdigest() != digest:
        raise damaged(path, "its SHA-256 is not the one in checkpoint.json")
    return content


def damaged(path: Path, what: str) -> RunError:
    """The error about a checkpoint, or a file of it, with a word on the other one."""
    other = "last" if path.parent.name == "best" else "best"
    spare = path.parent.with_name(other) / MANIFEST
    return RunError(
        f"the checkpoint is damaged: {path}: {what}",
        hint=f"the checkpoint `{other}` of this run is a separate copy" if spare.exists() else None,
    )


def _to_safetensors(named: Mapping[str, Tensor]) -> bytes:
    from safetensors.torch import save

    stored: dict[tuple[Any, ...], str] = {}
    aliases: dict[str, str] = {}
    unique: dict[str, Tensor] = {}
    for name, tensor in named.items():
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
        if tensor.numel() and place in stored:
            aliases[name] = stored[place]
        else:
            stored[place] = name
            unique[name] = tensor
    # safetensors refuses tensors that share memory, as the slices of one buffer do: each gets memory of its own.
    own = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in unique.items()}
    # One key, since two or more come out in an order that varies from save to save.
    content: bytes = save(own, metadata={"lsseq": json.dumps({_ALIASES: aliases}, sort_keys=True)})
    return content


def _from_safetensors(folder: Path, content: bytes, device: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors: dict[str, Tensor] = load(content)
        header = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")])
        aliases: dict[str, str] = parse_json(header["__metadata__"]["lsseq"])[_ALIASES]
        # Moved first, so that the names of one tensor share one on the device, too.
        tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
        return tensors | {name: tensors[target] for name, target in aliases.items()}
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(folder, f"its tensors cannot be read ({error})") from error
