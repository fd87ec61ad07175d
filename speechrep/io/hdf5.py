"""HDF5 files that others made: whatever the library says about a damaged one is an InputError."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import h5py

from speechrep.errors import InputError

# What h5py raises depends on which byte is damaged.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, NotImplementedError)
_MOST_PACKED = 1100  # times smaller than its content is what gzip can make of zeros


@contextlib.contextmanager
def reading(path: object, what: str = "not a whole HDF5 file", mend: str = "") -> Iterator[None]:
    """What h5py raises in the block as InputError naming ``path``; a missing file stays FileNotFoundError."""
    try:
        yield
    except (InputError, FileNotFoundError):
        raise
    except _DAMAGE as error:
        raise InputError(f"{what}: {error}", where=path, mend=mend) from error


def require_real_size(dataset: h5py.Dataset, where: object) -> None:
    """Refuse a data set that claims more than its file can hold, before memory is taken for it."""
    file_bytes = Path(dataset.file.filename).stat().st_size
    stored = min(dataset.id.get_storage_size(), file_bytes)
    if dataset.nbytes > _MOST_PACKED * stored:
        raise InputError(f"{dataset.name} claims {dataset.nbytes} bytes and holds {stored}", where=where)
