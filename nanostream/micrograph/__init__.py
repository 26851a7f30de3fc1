"""Users' pictures from files: decoded, scaled to [0, 1], with their pixel size and without their footer."""

from nanostream.micrograph.folder import list_pictures, read_micrographs
from nanostream.micrograph.micrograph import Micrograph, read_micrograph

__all__ = ["Micrograph", "list_pictures", "read_micrograph", "read_micrographs"]
