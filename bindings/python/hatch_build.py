"""Builds the wheel: puts libtaskmet.so into the package, tags the wheel for this platform, and takes the version from
the header.

The library is the file named by TASKMET_LIBRARY, else the repository's release build.
"""

import os
import pathlib
import re
import sysconfig

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
HEADER = REPOSITORY / "include" / "taskmet.h"
BUILT = REPOSITORY / ".build" / "release" / "libtaskmet.so"


class VersionFromHeader(MetadataHookInterface):
    """The package's version is the library's."""

    def update(self, metadata):
        text = HEADER.read_text(encoding="utf-8")
        numbers = [re.search(rf"#define TASKMET_VERSION_{part} (\d+)", text) for part in ("MAJOR", "MINOR", "PATCH")]
        metadata["version"] = ".".join(number.group(1) for number in numbers)


class LibraryInWheel(BuildHookInterface):
    """The wheel works with any Python 3, on this platform alone."""

    def initialize(self, version, build_data):
        if self.target_name != "wheel" or version == "editable":
            return
        library = pathlib.Path(os.environ.get("TASKMET_LIBRARY", BUILT)).resolve()
        if not library.exists():
            raise FileNotFoundError(f"{library} is not there: run `make` in the repository, or set TASKMET_LIBRARY")
        platform = re.sub(r"[^0-9A-Za-z]", "_", sysconfig.get_platform())
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
        build_data["force_include"][str(library)] = "taskmet/libtaskmet.so"
