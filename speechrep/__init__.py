"""speechrep: pre-train, compare and use self-supervised speech representations.

Axes, everywhere: B batch, T frames, F feature dimension, D hidden size, L layers, C classes.
Lengths (``*_lens``) are int64 counts of frames and travel with what they measure;
``*_mask`` is True where valid.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from speechrep.compat.convert import load_any as load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """``speechrep.load``, imported on first use: commands that need no torch start without it."""
    if name == "load":
        from speechrep.compat.convert import load_any as load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
