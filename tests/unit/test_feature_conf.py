import pytest

from speechrep.bin.feature_conf import main
from speechrep.config import add_options, from_options, make_parser, to_dict
from speechrep.errors import InputError
from speechrep.frontend.fbank import FbankConfig
from speechrep.io.feature_meta import FORMAT, FeatureMeta
from speechrep.io.model_files import write_model

OPTIONS = to_dict(FbankConfig(num_mel_bins=40))


def model(folder, kind="upstream", **changes):
    values = {"feature": "fbank", "config": OPTIONS, "dim": 40, "frame_shift_ms": 10.0, "sample_rate": 16000,
              "cmvn": "speaker", "norm_vars": False}  # fmt: skip
    meta = to_dict(FeatureMeta(**(values | changes)))
    write_model(folder, {}, {"kind": kind, "input": {"format": FORMAT} | meta})
    return str(folder)


def test_what_is_written_is_the_configuration_the_model_was_trained_on(tmp_path):
    models = [model(tmp_path / name) for name in ("apc", "mockingjay")]
    main(["--models", *models, "--out", str(tmp_path / "conf.yaml")])
    parser = make_parser("")
    add_options(parser, FbankConfig)
    for option in ("--feature", "--cmvn", "--norm-vars"):
        parser.add_argument(option)
    args = parser.parse_args(["--config", str(tmp_path / "conf.yaml")])
    assert to_dict(from_options(FbankConfig, args)) == OPTIONS
    assert (args.feature, args.cmvn, args.norm_vars) == ("fbank", "speaker", "False")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cmvn": "utterance"}, r"b: cmvn is 'utterance' but .*a was made for 'speaker'"),
        ({"kind": "downstream"}, "b: holds a downstream model"),
    ],
)
def test_models_that_do_not_go_together_are_refused(tmp_path, changes, message):
    models = [model(tmp_path / "a"), model(tmp_path / "b", **changes)]
    with pytest.raises(InputError, match=message):
        main(["--models", *models, "--out", str(tmp_path / "conf.yaml")])


@pytest.mark.parametrize(
    ("changes", "message"), [({"feature": "kaldi"}, "made elsewhere"), ({"cmvn": "global"}, "global")]
)
def test_features_that_audio_alone_does_not_give_are_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        main(["--models", model(tmp_path / "a", **changes), "--out", str(tmp_path / "conf.yaml")])
    assert not (tmp_path / "conf.yaml").exists()
