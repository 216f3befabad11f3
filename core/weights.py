"""Weight files: read without running anything in them, written whole, known by a digest. torch is imported late."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import re
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PosixPath
from typing import TYPE_CHECKING, Any

from navloop.files import written_aside

if TYPE_CHECKING:
    from torch import Tensor

CONTAINERS = ("model", "module", "state_dict", "model_state")
"""Names under which training code stores a model's tensors beside its own state."""

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
"""Ends of weight files' names, where a folder is named in place of one; else a file is known by its first bytes."""

_CHUNK = 1 << 24  # bytes hashed at a time

# Classes of training code that files mention beside their tensors. They are read as plain records: nothing is imported.
_RECORDS = (
    "easydict.EasyDict",
    "pytorch_lightning.callbacks.lr_monitor.LearningRateMonitor",
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "utils.easydict.EasyDict",
)


class WeightsError(ValueError):
    """Weights that cannot be used as asked; the message names the file or the keys, and the mend."""


class WeightsWarning(UserWarning):
    """Weights that were loaded, but not as one would think; the message says what to look at."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The tensors of a file and what it says about them."""

    state: dict[str, Tensor]
    """Tensor by name, on the CPU; large files are mapped, not copied."""
    metadata: dict[str, str]
    """Text by name; of torch files the "container" of the tensors, and what numbers and texts lay beside it."""
    origin: str = ""
    """File that they were read from; empty if they come from memory."""


def read_weights(path: str | os.PathLike[str]) -> Weights:
    """Read a safetensors or torch file without running anything in it.

    Which of the two it is shows in its first bytes, whatever its name.

    Raises:
        WeightsError: If there is no such file, it is empty, cut short or of another kind, or it asks Python to load
            anything but inert data; nothing of such a file is loaded.
    """
    path = Path(path)
    kind = _kind(path)
    try:
        read = _read_safetensors(path) if kind == "safetensors" else unwrap(_load_torch(path, zipped=kind == "zip"))
        return replace(read, origin=str(path))
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error.__cause__


def unwrap(content: object) -> Weights:
    """Return the tensors of what a torch file holds: those under one name of `CONTAINERS`, or all if it is flat.

    Raises:
        WeightsError: If there are none, two containers have some, or something among them is no tensor.
    """
    from torch import Tensor

    if not isinstance(content, Mapping):
        raise WeightsError(f"holds a {type(content).__name__}, not tensors by name; save `model.state_dict()`")
    holds = {name: content[name] for name in CONTAINERS if isinstance(content.get(name), Mapping)}
    holds = {name: inner for name, inner in holds.items() if any(isinstance(value, Tensor) for value in inner.values())}
    if len(holds) > 1:
        raise WeightsError(f"has tensors under each of {', '.join(holds)}; save the ones you mean by themselves")
    container, state = next(iter(holds.items()), ("flat", content))
    beside = {str(name): value for name, value in content.items() if isinstance(value, str | int | float)}
    if container == "flat":
        state = {name: value for name, value in content.items() if name not in beside}
    odd = [str(name) for name, value in state.items() if not (isinstance(value, Tensor) and isinstance(name, str))]
    if odd or not state:
        raise WeightsError(
            f"has no tensors by name under {', '.join(CONTAINERS)} or at its top, where there is "
            f"{', '.join(odd[:8]) or 'nothing'}{', ...' if len(odd) > 8 else ''}; save `model.state_dict()`"
        )
    return Weights(dict(state), {"container": container, **{name: str(value) for name, value in beside.items()}})


def write_weights(path: Path | str, state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors and texts about them as a safetensors file, whole or not at all.

    Tensors that share memory are written one by one.

    Raises:
        ValueError: If a tensor has no bytes (device "meta").
        TypeError: If metadata is not text.
        OSError: If the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path, metadata = Path(path), dict(metadata or {})
    for name, text in metadata.items():
        if not (isinstance(name, str) and isinstance(text, str)):
            raise TypeError(f"{path}: metadata {name!r} is {text!r}; weight files carry text, so pass str(...)")
    tensors = _separate(path, state)
    with written_aside(path) as aside:
        try:
            save_file(tensors, aside, metadata)
        except SafetensorError as error:
            raise _as_os_error(error, path) from error
        with aside.open("rb") as file:
            os.fsync(file.fileno())


def _as_os_error(error: Exception, path: Path) -> OSError:
    """Return what the system said to safetensors, which passes on the number as text."""
    found = re.search(r"os error (\d+)", str(error))
    number = int(found[1]) if found else errno.EIO
    return OSError(number, os.strerror(number) if found else str(error), str(path))


def digest(weights: Mapping[str, Tensor] | Path | str) -> str:
    """Return "sha256:" and the first 16 hex digits over names, types, shapes and bytes, in the order of the names.

    Equal weights have equal digests, whatever file or container they are in. Where a tensor has no bytes (device
    "meta"), the digest is of names, types and shapes alone, and begins with "meta:".
    """
    state = weights if isinstance(weights, Mapping) else read_weights(weights).state
    hashed, kind = hashlib.sha256(), "sha256"
    for name in sorted(state):
        tensor = state[name].detach()
        head = f"{name}\n{tensor.dtype}\n{tuple(tensor.shape)}".encode()
        hashed.update(len(head).to_bytes(8, "big") + head)
        if tensor.is_meta:
            kind = "meta"
            continue
        for chunk in _chunks(tensor):
            hashed.update(chunk)
    return f"{kind}:{hashed.hexdigest()[:16]}"


def _chunks(tensor: Tensor) -> Iterator[memoryview]:
    import torch

    flat = tensor.contiguous().reshape(-1).view(torch.uint8)
    for start in range(0, len(flat), _CHUNK):
        yield flat[start : start + _CHUNK].cpu().numpy().data


def _separate(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous tensors on the CPU, no two of which share memory."""
    tensors, taken = {}, set()
    for name, tensor in state.items():
        if tensor.is_meta:
            raise ValueError(
                f"{path}: {name} has no bytes (device meta); load or initialise the model before writing it"
            )
        tensor = tensor.detach().cpu().contiguous()
        memory = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if memory in taken else tensor
        taken.add(memory)
    return tensors


def _kind(path: Path) -> str:
    """Return "safetensors", "zip" (torch) or "pickle" (torch before 1.6) by a file's first bytes."""
    if path.is_dir():
        files = [file.relative_to(path).as_posix() for file in sorted([*path.glob("*"), *path.glob("last/*")])]
        weights = [file for file in files if Path(file).suffix in SUFFIXES]
        raise WeightsError(
            f"{path}: is a folder; name one of its files: {', '.join(weights[:8]) or 'it has no weights'}"
        )
    if not path.exists():
        raise WeightsError(f"{path}: no such file; check the name, or download the weights to it")
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise WeightsError(f"{path}: is empty; download or save it again")
    if head[8:9] == b"{" and head[4:8] == bytes(4):  # the header's length, then the header; may begin as a pickle does
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(b"\x80"):
        return "pickle"
    if b"git-lfs" in head:
        raise WeightsError(f"{path}: is a Git LFS pointer, not the weights; fetch them with `git lfs pull`")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise WeightsError(f"{path}: is a web page, not weights; download the file itself")
    raise WeightsError(f"{path}: is neither a safetensors nor a torch file; check that it is the right one and whole")


def _read_safetensors(path: Path) -> Weights:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            return Weights({name: file.get_tensor(name) for name in names}, dict(file.metadata() or {}))
    except SafetensorError as error:
        raise WeightsError(f"is damaged or cut short ({error}); download or save it again") from error


def _load_torch(path: Path, zipped: bool) -> object:
    import torch

    with torch.serialization.safe_globals(_inert()):
        if zipped:
            _refuse_code(path)
        try:
            if path.suffix == ".safetensors":  # torch would go by the name
                with path.open("rb") as file:
                    return torch.load(file, map_location="cpu", weights_only=True)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
        except pickle.UnpicklingError as error:
            raise _refusal(path, _asked_for(error)) from error
        except Exception as error:  # a damaged pickle can fail in any way
            raise _damaged(error) from error


def _refuse_code(path: Path) -> None:
    import torch

    try:
        unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except ValueError as error:
        raise WeightsError(
            "is a TorchScript archive, which holds code, so nothing of it was loaded. "
            "If you trust where it comes from, save its tensors alone: "
            f"`import torch; torch.save(torch.jit.load({path.name!r}, map_location='cpu').state_dict(), 'tensors.pth')`"
        ) from error
    except pickle.UnpicklingError as error:
        raise _refusal(path, _asked_for(error)) from error
    except Exception as error:  # as above
        raise _damaged(error) from error
    if unknown:
        raise _refusal(path, unknown)


def _refusal(path: Path, unknown: Iterable[str]) -> WeightsError:
    return WeightsError(
        f"asks Python for more than data ({', '.join(sorted(unknown))}), so nothing of it was loaded. "
        "If you trust where it comes from, save its tensors alone where what it asks for is installed (this runs it): "
        f"`import torch; c = torch.load({path.name!r}, 'cpu', weights_only=False)`, "
        f"then `torch.save(next((c[k] for k in {CONTAINERS} if k in c), c), 'tensors.pth')`"
    )


def _asked_for(error: pickle.UnpicklingError) -> list[str]:
    unknown = re.findall(r"GLOBAL ([\w.]+)", str(error))
    return unknown or ["pickle instructions beyond those of protocol 2, which torch.save writes"]


def _damaged(error: Exception) -> WeightsError:
    return WeightsError(f"is damaged, cut short or no torch file ({_first_line(error)}); download or save it again")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class _Record(dict[str, Any]):
    """What is left of an object of training code."""

    def __setstate__(self, state: object) -> None:
        pass


def _inert() -> list[Any]:
    """Return what files may ask for: argument records, paths, numpy's numbers and arrays, training code's records."""
    import _codecs

    import numpy as np

    scalar, array = np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]
    made_by = {"multiarray.scalar": scalar, "multiarray._reconstruct": array}
    allowed: list[Any] = [Namespace, (PosixPath, "pathlib.PosixPath"), np.ndarray, np.dtype]
    allowed += {type(np.dtype(code)) for code in "?bhilqBHILQefd"}
    allowed += [(function, f"numpy.{core}.{name}") for name, function in made_by.items() for core in ("core", "_core")]
    allowed += [(_codecs.encode, "_codecs.encode")]  # how protocol 2 spells bytes, of which numpy's numbers consist
    return allowed + [(_Record, name) for name in _RECORDS]
