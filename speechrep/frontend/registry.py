"""The front ends by name."""

from collections.abc import Mapping
from typing import Any

from speechrep.config import from_dict
from speechrep.errors import InputError
from speechrep.frontend.base import FrontEnd
from speechrep.frontend.fbank import Fbank, FbankConfig
from speechrep.frontend.linear import Linear, LinearConfig
from speechrep.frontend.mel import Mel, MelConfig
from speechrep.frontend.mfcc import Mfcc, MfccConfig

FRONTENDS: dict[str, tuple[type, type[FrontEnd]]] = {
    "fbank": (FbankConfig, Fbank),
    "mfcc": (MfccConfig, Mfcc),
    "mel": (MelConfig, Mel),
    "linear": (LinearConfig, Linear),
}
"""Name to the dataclass of options and the front end that takes it."""


def make_frontend(name: str, config: Mapping[str, Any], where: object = "") -> FrontEnd:
    """The front end ``name`` with stored options, such as those of a ``FeatureMeta``.

    Args:
        name: a key of :data:`FRONTENDS`.
        config: the options by field name; those left out have their defaults.
        where: the file they come from, for messages.

    Raises:
        InputError: an unknown name or option; features made elsewhere, which cannot be made from samples.
    """
    if name not in FRONTENDS:
        raise InputError(
            f"no front end {name!r} makes features from samples; there are {sorted(FRONTENDS)}", where=where
        )
    options, frontend = FRONTENDS[name]
    try:
        return frontend(from_dict(options, config, where))
    except InputError as error:
        raise error.told(where=where) from error
