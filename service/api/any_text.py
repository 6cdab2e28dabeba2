"""What a path may end with where it is somebody else's text: anything, with slashes and line ends, but not nothing."""

from typing import Final

from starlette.convertors import Convertor, register_url_convertor

ANY_TEXT: Final = "any_text"  # as in "/{id:any_text}"


class AnyText(Convertor[str]):
    """Starlette's `path` ends at a line end, and is also nothing."""

    regex = r"[\s\S]+"

    def convert(self, value: str) -> str:
        """As it is."""
        return value

    def to_string(self, value: str) -> str:
        """The same."""
        return value


register_url_convertor(ANY_TEXT, AnyText())
