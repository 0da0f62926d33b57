"""What can go wrong in answering, beyond the kernel's errors."""

from ragecho.kernel.errors import InvalidInput


class UnknownModel(InvalidInput):
    """The request names a generator that is not configured."""

    code = "unknown_model"
