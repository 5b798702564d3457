"""Data: bundled digits and emoji, MNIST, Fashion-MNIST, CIFAR-10, folders of your own images, and batches."""

from .cache import Mapped, cached
from .cifar import cifar10
from .emoji import EMOJI_SHA256, emoji
from .folder import image_folder
from .idx import DIGITS_SHA256, IDX_SHA256, digits, fashion_mnist, mnist
from .images import Images, Source, batches, labelled_batches, to_uint8, to_unit
from .picture import IMAGE_ENDINGS, Form, Picture, read_picture
from .source import NAMED, TESTED, load

__all__ = [
    "DIGITS_SHA256",
    "EMOJI_SHA256",
    "IDX_SHA256",
    "IMAGE_ENDINGS",
    "NAMED",
    "TESTED",
    "Form",
    "Images",
    "Mapped",
    "Picture",
    "Source",
    "batches",
    "cached",
    "cifar10",
    "digits",
    "emoji",
    "fashion_mnist",
    "image_folder",
    "labelled_batches",
    "load",
    "mnist",
    "read_picture",
    "to_uint8",
    "to_unit",
]
