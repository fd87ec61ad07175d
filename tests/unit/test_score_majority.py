import json

import pytest

from speechrep.bin.score_majority import main
from speechrep.errors import InputError
from speechrep.io.table import write_table
from speechrep.report.table import read_results


def test_majority_row_has_the_shape_of_any_other_and_is_not_doubled(tmp_path):
    for name, values in (("train", [1, 2, -1]), ("test", [1, 1, -1, 0])):
        write_table(tmp_path / name / "utt2sentiment", {f"u{i}": str(v) for i, v in enumerate(values)})
    out = tmp_path / "results.json"
    argv = ["--train-data", str(tmp_path / "train"), "--data-dir", str(tmp_path / "test"), "--set", "test",
            "--out", str(out)]  # fmt: skip
    main(argv)
    main(argv)
    results = read_results(out)
    assert len(results) == len({result.metric for result in results}) == 7  # all but corr
    found = {result.metric: result.value for result in results}
    assert found["acc2"] == 75
    assert found["acc2_non0"] == pytest.approx(200 / 3)
    assert {result.upstream for result in results} == {"majority"}
    assert json.loads(out.read_text())[0]["n"] == 4
    assert {result.seed for result in results} == {1}
    main([*argv, "--seed", "3"])  # to stand beside rows of that seed
    assert {result.seed for result in read_results(out)} == {3}


def test_a_data_directory_without_sentiment_is_named(tmp_path):
    with pytest.raises(InputError, match=r"train/utt2sentiment: no such file"):
        main(["--train-data", str(tmp_path / "train"), "--data-dir", "x", "--set", "t", "--out", "r"])
