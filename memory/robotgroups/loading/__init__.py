"""Loading files as memories: which there are, and what a Markdown file says, in chunks.

    for path in iter_files("docs"):
        source = read_file(path)
        document = parse_document(source.text, max_tokens=512, count=tokens.count)

What of it is new to the memory is for Postgres to find out (``sync_file``). Needs the extra ``files``, imported when it
is used.
"""

from robotgroups.loading.document import MIN_CHUNK_TOKENS, Document, parse_document
from robotgroups.loading.files import MAX_FILE_BYTES, SourceFile, iter_files, read_file
from robotgroups.loading.pieces import Chunk

__all__ = [
    "MAX_FILE_BYTES",
    "MIN_CHUNK_TOKENS",
    "Chunk",
    "Document",
    "SourceFile",
    "iter_files",
    "parse_document",
    "read_file",
]
