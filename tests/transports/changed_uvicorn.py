"""uvicorn as a later version may have it: its protocol, with one name changed wherever it stands."""

from types import FunctionType
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MADE_BY_PYTHON = ("__dict__", "__weakref__")


def renamed(name: str) -> type:
    """uvicorn's protocol, in which `name` is called something else, be it a method or an attribute."""
    other = f"{name}_of_a_later_version"

    def changed(member: Any) -> Any:
        if not isinstance(member, FunctionType):
            return member
        code = member.__code__
        names = tuple(other if mentioned == name else mentioned for mentioned in code.co_names)
        return FunctionType(code.replace(co_names=names), member.__globals__, code.co_name, member.__defaults__)

    members = {key: changed(member) for key, member in vars(HttpToolsProtocol).items() if key not in MADE_BY_PYTHON}
    if name in members:
        members[other] = members.pop(name)
    return type("Changed", HttpToolsProtocol.__bases__, members)
