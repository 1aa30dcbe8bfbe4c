"""Names that subclasses of the official provider's classes may have taken: none of them is ours to use."""

from __future__ import annotations

import ast
import inspect
from typing import Any

#: What users call their private methods and attributes, and what we might.
LIKELY = """
    _api _ask _began _begin _cancel _check _client _close _complete _conn _connect _connection _context _course _create
    _deadline _defer _describe _done _end _end_late _event _execute _explain _fail _fetch _finish _first_check
    _first_look _for_xcoms _forget_session _get _get_hook _get_job _get_status _handle _hook _id _init _is_done _job
    _job_id _last _last_seen _lead _leave _life _link _linked _log_job _look _no_end _notify _open _outage _outlived
    _own _parameters _poke _poll _portal _prepare _process _push _query _request _resume _retry _run _see _seen _send
    _session _settings _setup _skip _skipping _sleep _start _state _status _stop _submit _ti _timeout _token _try
    _update _users _validate _wait _wait_for_job _watch _watcher _write
""".split()  # noqa: SIM905


def private_names(kind: type) -> set[str]:
    """Return the private names that a class defines or uses, those of its instances, too."""
    source = ast.parse(inspect.getsource(inspect.getmodule(kind) or kind))
    used = {node.attr for node in ast.walk(source) if isinstance(node, ast.Attribute)}
    return {name for name in used | set(vars(kind)) if name.startswith("_") and not name.endswith("__")}


def free_names(official: type, base: type) -> list[str]:
    """Return what a subclass may define: all likely names, and those of the official class.

    :param official: The official provider's class.
    :param base: Airflow's class beneath it, whose names are Airflow's to use.
    """
    return sorted((set(LIKELY) | private_names(official)) - set(dir(base)) - _attributes_set_by(base))


def _attributes_set_by(base: type) -> set[str]:
    names: set[str] = set()
    for kind in base.__mro__[:-1]:
        names |= private_names(kind)
    return names


class Untouchable:
    """A subclass's own, of which nobody else is to make use."""

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("This is a subclass's own")

    __call__ = __enter__ = __exit__ = __bool__ = __len__ = __iter__ = __getitem__ = _refuse

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # What Python itself asks of all that a class has.
            raise AttributeError(name)
        return self._refuse()


#: What is found under a subclass's names.
MINE = Untouchable()


def refuses(self: Any, *_: Any, **__: Any) -> Any:
    """Be a subclass's own method that nobody calls."""
    raise AssertionError(f"{type(self).__name__} has a method of its own called")


def with_methods(kind: type, names: list[str]) -> type:
    """Return a subclass that has methods of these names."""
    return type("WithMethods", (kind,), dict.fromkeys(names, refuses))


def with_attributes(kind: type, names: list[str]) -> type:
    """Return a subclass whose instances have attributes of these names, from before and after our ``__init__``."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        def take() -> None:
            for name in names:
                # As Airflow's own __setattr__ would, without what it does for those that are templates.
                object.__setattr__(self, name, MINE)

        take()
        kind.__init__(self, *args, **kwargs)
        assert_untouched(self, names)
        take()

    return type("WithAttributes", (kind,), {"__init__": __init__, **dict.fromkeys(names, MINE)})


def assert_untouched(instance: Any, names: list[str]) -> None:
    """Check that a subclass's attributes are what it has set."""
    assert [name for name in names if getattr(instance, name) is not MINE] == []


def names_to_take(kind: type, made: Any, base: Any) -> set[str]:
    """Return the private names of ours that a subclass might take for itself.

    :param kind: A class of ours.
    :param made: One that was used.
    :param base: One of Airflow's class beneath it.
    """
    # Airflow's classes keep it, once it was used.
    assert base.log
    ours = {name for name in set(vars(kind)) | set(vars(made)) - set(vars(base)) if name.startswith("_")}
    # Names that nobody can take by chance: Python's, and those with the name of a class in them, as Airflow adds some.
    taken = ("__", "_abc_", *(f"_{each.__name__}__" for each in kind.__mro__))
    return {name for name in ours if not name.startswith(taken)}
