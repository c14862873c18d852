"""numpy for the modules that compute with it, or word of what to install; and the shapes they speak of.

Import this only from modules that a command imports when it is called.
"""

from smile_async.errors import MissingExtraError

try:
    import numpy as np
    from numpy.typing import NDArray
except ImportError:
    raise MissingExtraError("Measuring diversity", "analysis") from None

__all__ = ["NDArray", "np"]
