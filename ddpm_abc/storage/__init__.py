"""Files that hold networks: whole or not there at all, the same bits back, and no stranger's code."""

from ddpm_abc.storage.atomic import clean_temporary, lock_folder, write_atomically
from ddpm_abc.storage.format import Metadata, read_metadata

__all__ = ["Metadata", "clean_temporary", "lock_folder", "read_metadata", "write_atomically"]
