"""How large a request may be; what a memory may hold is the library's to say (``robotgroups.limits``)."""

# The whole body, before it is parsed.
MAX_BODY_BYTES = 1024 * 1024
