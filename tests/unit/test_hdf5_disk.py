import h5py
import numpy as np
import pytest

from speechrep.errors import InputError
from speechrep.io.hdf5_disk import Disk


def test_what_is_written_is_read(tmp_path):
    with Disk(tmp_path / "x.h5") as disk, h5py.File(disk, "w") as file:
        file["x"] = np.arange(100_000)
    disk.check("x")
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["x"][-1] == 99_999


def test_a_full_disk_is_told_and_does_not_crash():
    with Disk("/dev/full") as disk, h5py.File(disk, "w") as file:
        file["x"] = np.arange(100_000)
    with pytest.raises(InputError, match=r"some\.h5: cannot be written: No space left on device"):
        disk.check("some.h5")
