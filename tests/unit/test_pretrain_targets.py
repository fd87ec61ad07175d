"""Targets that are not the input: those that do not go with it, or with each other, are refused."""

import pytest
from test_pretrain import SMALL, sets, write_store  # noqa: F401

from speechrep.bin.pretrain import main
from speechrep.errors import InputError


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ([{"frame_shift_ms": 12.5}] * 2, r"target0\.h5: frames of 12\.5 ms as targets of frames of 10\.0 ms"),
        ([{}, {"feature": "mel"}], r"target1\.h5: feature is 'mel' but .*target0\.h5 was made for 'linear'"),
    ],
)
def test_targets_unlike_the_input_or_each_other_are_refused(tmp_path, sets, changes, complaint):  # noqa: F811
    paths = [
        write_store(tmp_path / f"target{seed}.h5", dim=9, seed=seed, **({"feature": "linear"} | change))
        for seed, change in enumerate(changes)
    ]
    targets = ["--train-target-dir", paths[0], "--valid-target-dir", paths[1]]
    with pytest.raises(InputError, match=complaint):
        main([*SMALL["mockingjay"], *sets, *targets, "--max-steps", "1", "--exp-dir", str(tmp_path / "exp")])
    assert not (tmp_path / "exp/model.json").exists()
