"""What assembling a context needs of each memory, made once and kept while the memory stays: token counts, sort keys.

Tokens of a joined text are counted from its parts, exactly. cl100k_base cuts a text by a regular expression that looks
at most one character ahead, and merges bytes only inside such a cut. Between two contents stands SEPARATOR, two line
breaks, and no cut goes on from a line break to what is neither one nor white space before one. So it is enough that

- a content is counted twice: at the end of the text, and with a separator behind it, which may join what the content
  ends with (a full stop and the separator are one token);
- a content's leading white space is left out up to its last line break, and so are blank contents: they would join the
  separator before them, which says as much.

The tests compare with tiktoken; a tokenizer that cuts otherwise fails them.
"""

from __future__ import annotations

import math
import re
import string
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from robotgroups import tokens
from robotgroups.lexical import Index
from robotgroups.memories import Memory
from robotgroups.scope import belongs

SEPARATOR = "\n\n"
# Unicode's White_Space, which the tokenizer's \s is; Python's has four control characters more.
_SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_LEADING_LINES = re.compile(rf"[{_SPACE}]*\Z|[{_SPACE}]*[\r\n]")
_ALNUM = frozenset(string.ascii_letters + string.digits)
_OTHER_ASCII = "".join(chr(c) for c in range(128) if chr(c) not in _ALNUM)
# How many scopes' views are kept; each is made anew in a fraction of a millisecond, its index in some more.
_MAX_VIEWS = 32


@dataclass(frozen=True, slots=True)
class Item:
    """A memory, ready for a context.

    ``last`` and ``followed`` are the tokens of ``text`` at a context's end and with a separator behind it;
    ``accessed`` is when it was last used, in seconds since the epoch; ``frequency`` is ln(1 + accesses).
    """

    memory: Memory
    id: int
    text: str
    last: int
    followed: int
    accessed: float
    frequency: float


class View:
    """The items that a context is made from: those of one scope that have not expired, the highest id first.

    Only these are in its index: how well a memory matches depends on nothing that the view does not show.
    """

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._source: Sequence[Item] | None = None
        self._since: datetime | None = None  # the answer is the same for every time from here
        self._until: datetime | None = None  # until here
        self._index: Index | None = None  # made with the first query
        self._indexed: list[Item] | None = None

    def show(self, source: Sequence[Item], scope: Mapping[str, str], now: datetime) -> View:
        """Bring it to these items, at this time."""
        begun = self._since is None or now >= self._since
        if source is self._source and begun and (self._until is None or now < self._until):
            return self
        own = [i for i in source if belongs(i.memory.scope, scope)] if scope else source
        ends = [end for i in own if (end := i.memory.expires_at) is not None]
        self.items = [i for i in own if (end := i.memory.expires_at) is None or end > now]
        self._since = max((end for end in ends if end <= now), default=None)
        self._until = min((end for end in ends if end > now), default=None)
        self._source = source
        return self

    def drop(self, gone: Set[int]) -> None:
        """Keep nothing of these memories: they may have been erased, and nobody may ever ask for this view again."""
        if not gone.isdisjoint(i.id for i in self.items):
            self.items = [i for i in self.items if i.id not in gone]
            self._source = None
            if self._index is not None:
                self._index.update({item.id: item.text for item in self.items})
                self._indexed = self.items

    def scores(self, query: str) -> dict[int, float]:
        """How well its memories match a query: BM25 by id, of those that share a word with it."""
        if self._index is None:
            self._index = Index()
        if self._indexed is not self.items:
            self._index.update({item.id: item.text for item in self.items})
            self._indexed = self.items
        return self._index.scores(query)


class Prepared:
    """The items of one working set after the other; what it keeps of the last one changes no answer."""

    def __init__(self, tokenizer: str = tokens.DEFAULT) -> None:
        self.tokenizer = tokenizer
        self._memories: list[Memory] = []
        self._known: dict[int, Item] = {}  # by id, all of them
        self._items: list[Item] = []
        self._views: OrderedDict[tuple[tuple[str, str], ...], View] = OrderedDict()

    def view(self, memories: Iterable[Memory], now: datetime, scope: Mapping[str, str] | None = None) -> View:
        """What a context at ``now`` is made from, of these memories those that belong to a scope; no blank ones."""
        given = list(memories)
        if given != self._memories:  # quick for the same objects
            known = self._known
            self._known = {m.id: self._item(m, known.get(m.id)) for m in sorted(given, key=lambda m: -m.id)}
            self._memories, self._items = given, [i for i in self._known.values() if i.text]
            gone = known.keys() - self._known.keys()
            for kept in self._views.values() if gone else ():
                kept.drop(gone)
        wanted = scope or {}
        key = tuple(sorted(wanted.items()))
        view = self._views.pop(key, None) or View()
        self._views[key] = view
        if len(self._views) > _MAX_VIEWS:
            self._views.popitem(last=False)
        return view.show(self._items, wanted, now)

    def forget(self, memory_ids: Iterable[int]) -> None:
        """Keep nothing of memories that were forgotten or erased, or have left the working set."""
        gone = {memory_id for memory_id in memory_ids if self._known.pop(memory_id, None) is not None}
        if not gone:
            return
        self._memories = [m for m in self._memories if m.id not in gone]
        self._items = [i for i in self._items if i.id not in gone]
        for view in self._views.values():
            view.drop(gone)

    def _item(self, memory: Memory, before: Item | None) -> Item:
        if before is not None and before.memory is memory:
            return before
        if before is not None and before.memory.content == memory.content:  # accessed again
            text, last, followed = before.text, before.last, before.followed
        else:
            text = without_leading_lines(memory.content)
            last = tokens.count(text, self.tokenizer)
            followed = last + separated(text, self.tokenizer)
        accessed = (memory.last_accessed_at or memory.remembered_at).timestamp()
        return Item(memory, memory.id, text, last, followed, accessed, math.log1p(memory.access_count))


def without_leading_lines(content: str) -> str:
    """What is left of a content without the blank lines that it begins with; of a blank one, nothing."""
    match = _LEADING_LINES.match(content)
    return content[match.end() :] if match else content


def separated(text: str, tokenizer: str = tokens.DEFAULT) -> int:
    """How many tokens more a text is with a separator behind it."""
    ending = text[len(text.rstrip(_OTHER_ASCII)) :]
    if len(ending) < len(text) and text[-len(ending) - 1] in _ALNUM:
        # a cut ends between an ASCII letter or digit and what else is ASCII: only the ending meets the separator
        return _separated_ending(ending, tokenizer)
    return tokens.count(text + SEPARATOR, tokenizer) - tokens.count(text, tokenizer)


@lru_cache(maxsize=1024)
def _separated_ending(ending: str, tokenizer: str) -> int:
    return tokens.count(ending + SEPARATOR, tokenizer) - tokens.count(ending, tokenizer)
