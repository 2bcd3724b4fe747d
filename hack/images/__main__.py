"""`python -m images`: builds the images and records their names; `--load` puts them into the cluster's nodes."""

import argparse
import sys

from clusters import choose
from images import record
from images.build import build_all
from localcluster.console import ClusterError, say


def main() -> int:
    """Builds, records, loads."""
    parser = argparse.ArgumentParser(prog="images", description=__doc__)
    parser.add_argument("--load", action="store_true", help="load them into the nodes that do not have them")
    parser.add_argument("--local-model", action="store_true", help="build the robots' image with the local model too")
    arguments = parser.parse_args()
    try:
        cluster = choose()
        images = build_all(cluster.builder, optional=arguments.local_model)
        record.write(images)
        for image in images:
            size = (
                f"{image.compressed_bytes / 1e6:.1f} MB compressed" if image.compressed_bytes else "in Docker's store"
            )
            say(f"    {image.name}  {size}")
        if arguments.load:
            cluster.load(images)
    except ClusterError as error:
        say(f"images: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
