"""`feederlab scenarios` and `feederlab controllers`: what there is to choose from."""

from __future__ import annotations

from feederlab.cli.console import Json, print_names


def scenarios(as_json: Json = False) -> None:
    """List the named scenarios."""
    from feederlab.models import library

    print_names(library.names(), "scenario", as_json)


def controllers(as_json: Json = False) -> None:
    """List the controllers."""
    from feederlab.controllers import registry

    print_names(registry.names(), "controller", as_json)
