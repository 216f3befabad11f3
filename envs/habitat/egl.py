"""What EGL offers, asked before habitat-sim does: where it finds no device, it ends the process without a traceback."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from collections.abc import Callable

from navloop.envs.habitat.versions import HabitatMissing

_CUDA_DEVICE = 0x323A
"""EGL_CUDA_DEVICE_NV."""

_MEND = (
    "habitat-sim draws through EGL. On the processor: install Mesa's EGL (libegl1 with libegl-mesa0, or conda's mesalib) and use "
    "gpu_device -1. On a GPU: install the driver's EGL; in a container, pass the driver's graphics capability through and point "
    "__EGL_VENDOR_LIBRARY_FILENAMES at its file (often /usr/share/glvnd/egl_vendor.d/10_nvidia.json; Mesa's is 50_mesa.json there)"
)


class NoDisplay(HabitatMissing):
    """EGL has no device to draw on; the message says what there is and how to get one."""


def require_device(gpu_device: int) -> None:
    """Check that habitat-sim will find what it is to draw on.

    Args:
        gpu_device: The CUDA index of a GPU, which is not EGL's own index: CUDA_VISIBLE_DEVICES renumbers the one and not the other.
            -1 takes the first device that EGL lists: the processor where no GPU driver is installed.

    Raises:
        NoDisplay: If EGL is missing, lists no device, or none with this CUDA index.
    """
    if gpu_device < -1:
        raise NoDisplay(f"gpu_device is {gpu_device}; give the CUDA index of a GPU, or -1")
    devices = list_devices()
    if devices is None:
        return
    if not devices:
        raise NoDisplay(f"EGL lists no device to draw on{_vendor()}. {_MEND}")
    if gpu_device >= 0 and gpu_device not in devices:
        there = sorted(index for index in devices if index is not None)
        cuda = f"CUDA devices {', '.join(map(str, there))}" if there else "none that is a CUDA device"
        raise NoDisplay(
            f"gpu_device is {gpu_device}, but of EGL's {len(devices)} devices there are {cuda}{_vendor()}. {_MEND}"
        )


def list_devices() -> list[int | None] | None:
    """Return the CUDA index of each device that EGL lists, None for one without; None alone where EGL cannot list devices.

    Raises:
        NoDisplay: If there is no EGL library.
    """
    name = ctypes.util.find_library("EGL") or "libEGL.so.1"
    try:
        egl = ctypes.CDLL(name)
    except OSError as error:
        raise NoDisplay(f"no EGL library ({error}). {_MEND}") from error
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    addresses = [egl.eglGetProcAddress(function) for function in (b"eglQueryDevicesEXT", b"eglQueryDeviceAttribEXT")]
    if not all(addresses):
        return None if _opens_default(egl) else []
    query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int))(addresses[0])
    attribute = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_ssize_t))(
        addresses[1]
    )
    count = ctypes.c_int(0)
    if not query(0, None, ctypes.byref(count)) or count.value == 0:
        return []
    handles = (ctypes.c_void_p * count.value)()
    query(count.value, handles, ctypes.byref(count))
    return [_cuda_index(attribute, handle) for handle in handles[: count.value]]


def _opens_default(egl: ctypes.CDLL) -> bool:
    """Whether there is a default display: an EGL without any driver has none, and lists no devices either."""
    egl.eglGetDisplay.restype = ctypes.c_void_p
    display = egl.eglGetDisplay(None)
    return display is not None and bool(egl.eglInitialize(ctypes.c_void_p(display), None, None))


def _cuda_index(attribute: Callable[..., int], handle: int | None) -> int | None:
    index = ctypes.c_ssize_t(-1)
    return int(index.value) if attribute(handle, _CUDA_DEVICE, ctypes.byref(index)) else None


def _vendor() -> str:
    chosen = os.environ.get("__EGL_VENDOR_LIBRARY_FILENAMES")
    return f" (__EGL_VENDOR_LIBRARY_FILENAMES={chosen})" if chosen else ""
