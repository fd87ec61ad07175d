"""speechrep: pre-train, compare and use self-supervised speech representations.

Axes, everywhere: B batch, T frames, F feature dimension, D hidden size, L layers, C classes.
Lengths (``*_lens``) are int64 counts of frames and travel with what they measure;
``*_mask`` is True where valid.
"""

__version__ = "0.1.0"
