"""`masktune weights`: published weights on this host, for jobs that start from them without the internet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from masktune.cli.characters import escape_controls
from masktune.cli.output import REFUSED, fail

app = typer.Typer(
    name="weights", help="Published weights on this host, for use without the internet.", no_args_is_help=True
)


@app.command()
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
