"""Write the configuration of the features that trained models take, so that a new corpus is given the same.

    python -m speechrep.bin.feature_conf --models exp/demo/apc exp/demo/mockingjay --out conf/like_demo.yaml

``extract_feats --config`` takes what it writes.
"""

from collections.abc import Sequence

from speechrep.bin import run
from speechrep.config import dump_yaml, from_dict, make_parser
from speechrep.data.identity import require_equal
from speechrep.errors import InputError
from speechrep.frontend.registry import FRONTENDS
from speechrep.io.feature_meta import FeatureMeta, parse_meta
from speechrep.io.files import atomic_open
from speechrep.io.model_files import read_info


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = make_parser(__doc__)
    parser.add_argument("--models", nargs="+", required=True, metavar="DIR", help="trained upstreams")
    parser.add_argument("--out", required=True, metavar="FILE", help="YAML file to write")
    args = parser.parse_args(argv)
    text = feature_yaml(args.models)
    with atomic_open(args.out) as stream:
        stream.write(f"# The features that {' and '.join(args.models)} were trained on.\n{text}")


def feature_yaml(models: Sequence[str]) -> str:
    """The configuration as flat YAML.

    Args:
        models: experiment directories of upstreams.

    Raises:
        InputError: two of them want different features, or features that cannot be made from audio alone.
    """
    metas = [_input_of(model) for model in models]
    for model, meta in zip(models, metas, strict=True):
        require_equal(metas[0].acoustic(), meta.acoustic(), models[0], model)
    meta = metas[0]
    if meta.feature not in FRONTENDS:
        raise InputError(
            f"was trained on {meta.feature!r} features, which were made elsewhere", where=models[0],
            mend=f"bring such features of the new corpus; made here are {sorted(FRONTENDS)}",
        )  # fmt: skip
    if meta.cmvn == "global":
        raise InputError(
            "was trained with statistics of its whole corpus (global CMVN)", where=models[0],
            mend="run extract_feats with --global-cmvn-from that corpus' features",
        )  # fmt: skip
    options = from_dict(FRONTENDS[meta.feature][0], meta.config, models[0])
    return dump_yaml(options, feature=meta.feature, cmvn=meta.cmvn, norm_vars=meta.norm_vars)


def _input_of(model: str) -> FeatureMeta:
    info = read_info(model)
    if info.get("kind") != "upstream":
        raise InputError(f"holds a {info.get('kind')} model, want an upstream", where=model)
    return parse_meta(info.get("input"), model)


if __name__ == "__main__":
    run(main)
