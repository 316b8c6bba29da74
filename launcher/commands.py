"""What the service adds to the command `masktune`: its entry point in the group `masktune.commands`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from launcher.backup import backup, restore
from launcher.demo.command import demo
from launcher.doctor import doctor
from launcher.serve import api, migrate, serve, worker
from launcher.web import web
from masktune.cli.characters import escape_controls
from masktune.cli.output import REFUSED, fail

weights = typer.Typer(
    name="weights", help="Published weights on this host, for use without the internet.", no_args_is_help=True
)


@weights.command()
def add(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE|FOLDER",
            exists=True,
            help="A safetensors or PyTorch file, or the folder of a repository of the Hugging Face hub; "
            "nothing in it is executed.",
            show_default=False,
        ),
    ],
    backbone: Annotated[str, typer.Option(help="Its network, by the name that jobs use.")],
    license_text: Annotated[
        str | None,
        typer.Option("--license", help="Their licence, if neither the file nor the library states it."),
    ] = None,
) -> None:
    """Add a network's published weights from a file that was fetched elsewhere.

    Jobs with `pretrained` on this host start from it. It must hold all tensors of the network, its last layer
    included if the published weights have one; class names are not needed. Run it as the user and with the
    environment of the workers: the file is copied to torch hub's cache (TORCH_HOME).
    """
    from models.backbones.add_weights import add_weights
    from models.backbones.errors import BackboneError

    try:
        added = add_weights(backbone, path, license_text=license_text)
    except (BackboneError, OSError) as error:
        fail(str(error), REFUSED)
    print(f"jobs with `pretrained` now start {backbone} from {added.file}\nsha256 {added.sha256}")
    print(f"licence {escape_controls(added.license or 'unknown')}")
    if added.is_published is False:
        print("This is another file than the one that the library publishes, or a converted one.")


COMMANDS: tuple[Callable[..., None] | typer.Typer, ...] = (
    serve,
    api,
    worker,
    migrate,
    backup,
    restore,
    web,
    demo,
    doctor,
    weights,
)
