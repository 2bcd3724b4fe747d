"""Loading files as memories: what a Markdown file says, in chunks, and what to change when it is loaded again.

    for path in iter_files("docs"):
        source = read_file(path)
        document = parse_document(source.text, max_tokens=512, count=tokens.count)
        todo = plan(stored, document)

Writing what the plan says is for those who hold the memory. Needs the extra ``files``, imported when it is used.
"""

from robotgroups.loading.document import MIN_CHUNK_TOKENS, Document, parse_document
from robotgroups.loading.files import MAX_FILE_BYTES, SourceFile, iter_files, read_file
from robotgroups.loading.pieces import Chunk
from robotgroups.loading.resync import Moved, Plan, StoredChunk, plan

__all__ = [
    "MAX_FILE_BYTES",
    "MIN_CHUNK_TOKENS",
    "Chunk",
    "Document",
    "Moved",
    "Plan",
    "SourceFile",
    "StoredChunk",
    "iter_files",
    "parse_document",
    "plan",
    "read_file",
]
