"""Every upstream by name."""

from speechrep.errors import InputError
from speechrep.io.feature_meta import FeatureMeta
from speechrep.upstream.apc import Apc
from speechrep.upstream.apc_transformer import ApcTransformer
from speechrep.upstream.base import Upstream
from speechrep.upstream.mockingjay import Mockingjay
from speechrep.upstream.surface import Surface

UPSTREAMS: dict[str, type[Upstream]] = {
    model.name: model for model in (Surface, Apc, ApcTransformer, Mockingjay)
}
CONFIGS: dict[str, type] = {name: model.config_class for name, model in UPSTREAMS.items()}


def build(name: str, config: object, meta: FeatureMeta) -> Upstream:
    """An untrained model for the features that ``meta`` describes."""
    if name not in UPSTREAMS:
        raise InputError(f"unknown upstream {name!r}; known are {sorted(UPSTREAMS)}")
    return UPSTREAMS[name](config, meta)
