"""Data: the bundled digits, MNIST and Fashion-MNIST, folders of your own images, and batches of them."""

from .folder import IMAGE_ENDINGS, image_folder
from .idx import DIGITS_SHA256, IDX_SHA256, digits, fashion_mnist, mnist
from .images import Images, Source, batches, labelled_batches, to_uint8, to_unit
from .source import load

__all__ = [
    "DIGITS_SHA256",
    "IDX_SHA256",
    "IMAGE_ENDINGS",
    "Images",
    "Source",
    "batches",
    "digits",
    "fashion_mnist",
    "image_folder",
    "labelled_batches",
    "load",
    "mnist",
    "to_uint8",
    "to_unit",
]
