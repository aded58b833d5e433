"""stub"""

from collections.abc import Mapping


def comparison_page(facts: Mapping[str, object]) -> str:
    return "<html></html>"
