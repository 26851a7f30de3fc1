"""Streams at rest: a range of samples as a set of files, or an endless stream in a ring of slots.

encoding: render workers that compress. fixed: a set, in any of the formats. ring: the rolling window.
"""

from nanostream.export.fixed import Exported, export, write
from nanostream.export.ring import export_window
from nanostream.formats.sinks import FORMATS

__all__ = ["FORMATS", "Exported", "export", "export_window", "write"]
