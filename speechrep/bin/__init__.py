"""One thin command per step: ``python -m speechrep.bin.<name> --help``."""

import contextlib
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool

from speechrep.errors import InputError


def run(main: Callable[[], None]) -> None:
    """Run a command: log to stderr, tell a user's mistake in one line, exit 0 only on full success.

    A process of several leaves at once on an error: what joins it to the others would wait for them.
    """
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    # Whatever the locale: text is UTF-8, as in files; names of files keep their bytes.
    for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)
    threading.excepthook = _tell_of_thread
    sys.unraisablehook = _tell_of_cleaning_up
    try:
        main()
    except KeyboardInterrupt:  # in one line; and as the signal, so that a shell stops too
        print(f"{os.path.basename(sys.argv[0])}: interrupted", file=sys.stderr)
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BrokenPipeError:  # the reader of our output left, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        told = _told(error)
        if _has_joined_others():
            if told:
                print(told, file=sys.stderr)
            else:
                sys.excepthook(*sys.exc_info())  # torch's, which tells the process's number
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError):
                    stream.flush()
            os._exit(1)
        if told:
            sys.exit(told)
        raise


def _has_joined_others() -> bool:
    """Whether this is one of several processes that exchange with each other."""
    distributed = sys.modules.get("torch.distributed")  # commands that need no torch do not import it
    return distributed is not None and distributed.is_available() and distributed.is_initialized()


def _told(error: Exception) -> str:
    """One line about what a user can mend; empty for other errors."""
    if isinstance(error, InputError):
        what = str(error)
    elif isinstance(error, OSError) and error.errno is not None:  # a full disk, rights that lack
        what = _reason(error)
    elif _is_of_worker(error):
        what = f"a worker process died, is memory short? The same command goes on. {error}"
    else:
        return ""
    return f"{os.path.basename(sys.argv[0])}: error: {what}"


def _reason(error: OSError) -> str:
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
    return where + (os.strerror(error.errno) if error.errno else str(error))


def _is_of_worker(error: BaseException | None) -> bool:
    """Whether it says that a process died; torch's signal brings this up anywhere."""
    of_loader = isinstance(error, RuntimeError) and "DataLoader worker" in str(error)
    return of_loader or isinstance(error, BrokenProcessPool)


def _tell_of_cleaning_up(args: "sys.UnraisableHookArgs") -> None:
    """Nothing of the worker's death that was told already and comes up again while the others are ended."""
    # What torch's loader lacks that was being made just then.
    half_made = isinstance(args.exc_value, AttributeError) and "DataLoaderIter" in str(args.exc_value)
    if not half_made and not _is_of_worker(args.exc_value):
        sys.__unraisablehook__(args)


def _tell_of_thread(args: threading.ExceptHookArgs) -> None:
    """A line for what a background thread, TensorBoard's say, could not write; else a traceback."""
    if isinstance(args.exc_value, OSError):
        logging.getLogger(__name__).error("in the background: %s", _reason(args.exc_value))
    else:
        threading.__excepthook__(args)
