"""What weights are put on: the name in a recipe, found on this machine."""

from __future__ import annotations


def find_device(name: str, place: int = 0) -> str:
    """Return a device that torch can use here, such as "cpu" or "cuda:1".

    Args:
        name: "cpu", "cuda", "cuda:1", ...; "auto" is a GPU where there is one.
        place: Among processes that share the GPUs; "auto" deals them out in turn.

    Raises:
        ValueError: If it cannot be used.
    """
    import torch  # whoever walks by no network, like most of those who import this, does without

    if name == "auto":
        return f"cuda:{place % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        raise ValueError(f"device {name!r} cannot be used ({str(error).splitlines()[0]}); take cpu or auto") from None
    return name
