"""``greenroom package``: the build context of a scoring server's image."""

import argparse
from pathlib import Path

from registry import PRODUCTION, Answer, Command, open_store, parse_model_ref, read_settings, steps

__all__ = ["COMMAND"]

SCHEMA = "greenroom/package/1"


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="NAME[@STAGE]", help="registered model; its production version by default"
    )
    parser.add_argument("folder", metavar="FOLDER", help="the build context; must not exist yet, or be empty")
    parser.add_argument("--version", metavar="N", help="another version than the one that holds the stage")
    parser.add_argument(
        "--follow",
        action="store_true",
        help="put no model inside: the server follows the stage on the tracking server",
    )
    parser.add_argument("--port", type=int, default=8080, help="port of the server (default: %(default)s)")
    parser.add_argument("--image", metavar="NAME", help="name of the image (default: greenroom-NAME:VERSION)")
    parser.add_argument("--dry-run", action="store_true", help="check everything, and leave no folder behind")


def _run(arguments: argparse.Namespace) -> Answer:
    from .packing import Order, pack  # noqa: PLC0415 - not on the way to --help

    name, stage = parse_model_ref(arguments.model, default_stage=PRODUCTION)
    settings = read_settings()
    order = Order(
        model=name,
        stage=stage or PRODUCTION,
        folder=Path(arguments.folder),
        version=arguments.version,
        follow=arguments.follow,
        port=arguments.port,
        image=arguments.image,
    )
    with steps() as show:
        show(f"packaging {name}")
        made = pack(
            open_store(settings), order, template=settings.ledger_experiment, dry_run=arguments.dry_run
        )
    document = {
        "schema": SCHEMA,
        "model": name,
        "stage": order.stage,
        "version": made.version,
        "manifest": made.manifest,
        "follow": order.follow,
        "folder": str(order.folder),
        "image": made.image,
        "packages": made.packages,
        "files": list(made.files),
        "dry_run": arguments.dry_run,
    }
    what = f"follows {order.stage}" if order.follow else f"version {made.version}"
    verb = "Would write" if arguments.dry_run else "Wrote"
    text = (
        f"{verb} {order.folder}: {name}, {what}, {made.packages} locked packages.\n"
        f"  docker build --tag {made.image} {order.folder}"
    )
    return Answer(document, text)


COMMAND = Command(
    name="package",
    help="Write everything that an image of the scoring server needs into a folder.",
    configure=_configure,
    run=_run,
    epilog="""examples:
  greenroom package flight-delay image
  greenroom package flight-delay image --follow
  docker build --tag greenroom-flight-delay:7 image

exit codes: 0 written, 1 no such version, 2 the folder is not empty, 3 tampered or not trusted, 4 unreachable
""",
)
