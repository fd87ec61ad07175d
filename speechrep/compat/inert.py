"""Read a pickle as data: every opcode is interpreted here, nothing it names is ever imported or called.

The format is the one ``pickletools`` documents (Python's standard library); the opcodes are split by it
and given their meaning below, for containers, numbers and text only. A class or function that the file
names is compared with a list of allowed names; an allowed one becomes a :class:`Record` of its arguments
and state, any other one is refused.
"""

import dataclasses
import pickletools
from collections.abc import Callable, Collection, Mapping
from typing import IO, Any

from speechrep.errors import InputError

INT_BITS = 4096  # Python writes no number of more than some thousand digits into a message
_MARK = object()
#: what broken bytes can raise on the way; every one of them is the file's fault
_BROKEN = (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError, RecursionError)
_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": set,
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclasses.dataclass(frozen=True)
class Name:
    """A class or function that a pickle names, never looked up."""

    name: str  # dotted, with its module


@dataclasses.dataclass
class Record:
    """An object of an allowed class, as the plain values it was stored with."""

    name: str  # dotted class name
    args: tuple[Any, ...] = ()
    state: dict[Any, Any] = dataclasses.field(default_factory=dict)


def read_pickle(
    stream: IO[bytes],
    where: object,
    allowed: Collection[str] = (),
    makers: Mapping[str, Callable[..., Any]] | None = None,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Read one pickle from ``stream``, leaving the position after it.

    Args:
        stream: open at the pickle's first byte.
        where: the file, for messages.
        allowed: dotted names that may occur; ``"module.*"`` allows a module's every name. They come back
            as :class:`Record`.
        makers: allowed names with our own function of the stored arguments, called in place of what the
            file names.
        persistent: what a persistent id (torch's storages) stands for; without it they are refused.

    Raises:
        InputError: a name that is not allowed, or bytes that are no whole pickle.
    """
    machine = _Machine(where, allowed, makers or {}, persistent)
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.step(opcode.name, argument)
    except InputError:
        raise
    except _BROKEN as error:
        raise InputError(f"not a whole pickle: {error!r}", where=where, mend="copy the file again") from error
    raise InputError("not a whole pickle: it has no end", where=where, mend="copy the file again")


class _Machine:
    def __init__(
        self,
        where: object,
        allowed: Collection[str],
        makers: Mapping[str, Callable[..., Any]],
        persistent: Callable[[Any], Any] | None,
    ):
        self.where, self.allowed, self.makers, self.persistent = where, allowed, makers, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, op: str, argument: Any) -> None:
        stack, memo = self.stack, self.memo
        if op in ("PROTO", "FRAME"):
            return
        if op in _VALUES:
            if type(argument) is int and argument.bit_length() > INT_BITS:
                raise InputError(f"an integer of {argument.bit_length()} bits", where=self.where)
            stack.append(argument)
        elif op in _CONSTANTS:
            stack.append(_CONSTANTS[op])
        elif op in _EMPTY:
            stack.append(_EMPTY[op]())
        elif op == "MARK":
            stack.append(_MARK)
        elif op in _TUPLES:
            self._replace(_TUPLES[op], tuple)
        elif op in ("TUPLE", "LIST"):
            stack.append({"TUPLE": tuple, "LIST": list}[op](self._from_mark()))
        elif op == "FROZENSET":
            stack.append(frozenset(keys(self._from_mark())))
        elif op == "DICT":
            stack.append(_pairs(self._from_mark()))
        elif op in ("APPEND", "APPENDS"):
            items = [stack.pop()] if op == "APPEND" else self._from_mark()
            self._top(list).extend(items)
        elif op in ("SETITEM", "SETITEMS"):
            items = [stack.pop(-2), stack.pop()] if op == "SETITEM" else self._from_mark()
            self._top(dict).update(_pairs(items))
        elif op == "ADDITEMS":
            items = keys(self._from_mark())
            self._top(set).update(items)
        elif op in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif op == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif op in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif op == "GLOBAL":
            stack.append(self._name(*argument.split(" ", 1)))
        elif op == "STACK_GLOBAL":
            name, module = stack.pop(), stack.pop()
            stack.append(self._name(module, name))
        elif op in ("REDUCE", "NEWOBJ"):
            arguments, function = stack.pop(), stack.pop()
            stack.append(self._make(function, arguments))
        elif op == "BUILD":
            self._build(stack.pop())
        elif op == "BINPERSID" and self.persistent is not None:
            stack.append(self.persistent(stack.pop()))
        else:
            raise InputError(f"the pickle opcode {op} has no place in a checkpoint", where=self.where)

    def _from_mark(self) -> list[Any]:
        """Pop everything above the last mark, and the mark."""
        position = len(self.stack) - 1
        while self.stack[position] is not _MARK:
            position -= 1
            if position < 0:
                raise ValueError("an item without a mark")
        items = self.stack[position + 1 :]
        del self.stack[position:]
        return items

    def _replace(self, count: int, kind: Callable[[list[Any]], Any]) -> None:
        if len(self.stack) < count:
            raise ValueError("too few items")
        self.stack[-count:] = [kind(self.stack[-count:])]

    def _top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise TypeError(f"items for a {kind.__name__}, added to something else")
        return self.stack[-1]

    def _name(self, module: str, name: str) -> Name:
        dotted = f"{module}.{name}"
        if dotted in self.makers or dotted in self.allowed or f"{module}.*" in self.allowed:
            return Name(dotted)
        raise InputError(
            f"it names {dotted}, which is no tensor or plain container; refused, nothing of it was run",
            where=self.where,
            mend="only checkpoints of Mockingjay, APC and S3PRL are known",
        )

    def _make(self, function: Any, arguments: Any) -> Any:
        if type(function) is not Name or type(arguments) is not tuple:
            raise TypeError("a call of something that is no name")
        maker = self.makers.get(function.name)
        return maker(*arguments) if maker is not None else Record(function.name, arguments)

    def _build(self, state: Any) -> None:
        target = self.stack[-1]
        if type(target) is Record:
            if type(state) is tuple and len(state) == 2:  # (attributes, slots)
                state = {**(state[0] or {}), **(state[1] or {})}
            target.state.update(state if type(state) is dict else {"": state})
        elif type(target) is not dict:  # an ordered dictionary's attributes (torch's _metadata): not needed
            raise TypeError("state for something that is no object")


def _pairs(items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise ValueError("a key without a value")
    return dict(zip(keys(items[::2]), items[1::2], strict=True))


def keys(items: list[Any]) -> list[Any]:
    """The items, if all are plain; hashing a deeply nested tuple would overflow the interpreter's stack."""
    for item in items:
        if not isinstance(item, (str, int, float, bytes, type(None))):
            raise TypeError(f"a {type(item).__name__} as a key")
    return items
