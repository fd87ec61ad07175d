"""For S3PRL and torch.hub: ``torch.hub.load(this_folder, "speechrep_local", source="local", ckpt=...)``."""

from speechrep.compat.s3prl_expert import speechrep_local

dependencies = ["torch", "numpy", "cv2", "safetensors", "speechrep"]
__all__ = ["speechrep_local"]
