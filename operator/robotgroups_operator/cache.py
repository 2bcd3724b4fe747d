"""What the operator has seen of the cluster, fed by watch events and corrected by lists. No I/O."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from robotgroups_operator.names import LABEL_GROUP, Kind

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class GroupRef:
    """A RobotGroup's place."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def version(body: JsonObject) -> int:
    """An object's resource version; the API server guarantees that those of one kind compare as numbers (KEP-5504)."""
    return int(body["metadata"].get("resourceVersion") or 0)


def group_of(kind: Kind, body: JsonObject) -> GroupRef | None:
    """The group that an object belongs to by its label; None for a stranger."""
    metadata = body["metadata"]
    name = metadata["name"] if kind is Kind.ROBOT_GROUP else (metadata.get("labels") or {}).get(LABEL_GROUP)
    return GroupRef(metadata["namespace"], name) if name else None


class _Shelf:
    """The objects of one kind, by name and by group."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self.objects: dict[tuple[str, str], JsonObject] = {}
        self.groups: dict[GroupRef, dict[str, JsonObject]] = {}
        self.removed: dict[str, int] = {}
        """UIDs whose end was seen, with the resource version of it: an older list may still have them."""

    def put(self, key: tuple[str, str], body: JsonObject) -> None:
        self.drop(key)
        self.objects[key] = body
        if ref := group_of(self._kind, body):
            self.groups.setdefault(ref, {})[key[1]] = body

    def drop(self, key: tuple[str, str]) -> None:
        body = self.objects.pop(key, None)
        if body is not None and (ref := group_of(self._kind, body)):
            del self.groups[ref][key[1]]
            if not self.groups[ref]:
                del self.groups[ref]


class Cache:
    """The newest known state of every watched object. Events and lists may come in any order."""

    def __init__(self) -> None:
        self._shelves: dict[Kind, _Shelf] = {}

    def put(self, kind: Kind, body: JsonObject) -> bool:
        """Takes an object that was seen; False when something newer is known, or nothing changed."""
        shelf, metadata = self._shelf(kind), body["metadata"]
        key = (metadata["namespace"], metadata["name"])
        known = shelf.objects.get(key)
        # an object that left the watch's selector ends like a deleted one, and may come back with a newer version
        if version(body) <= shelf.removed.get(metadata["uid"], -1) or (
            known is not None and version(known) >= version(body)
        ):
            return False
        shelf.put(key, body)
        return True

    def remove(self, kind: Kind, body: JsonObject) -> bool:
        """Takes the end of an object; False when it was not known, or its name is another object's now."""
        shelf, metadata = self._shelf(kind), body["metadata"]
        shelf.removed[metadata["uid"]] = version(body)
        key = (metadata["namespace"], metadata["name"])
        known = shelf.objects.get(key)
        if known is None or known["metadata"]["uid"] != metadata["uid"]:
            return False
        shelf.drop(key)
        return True

    def replace(
        self, kind: Kind, items: Iterable[JsonObject], resource_version: str, *, namespace: str | None = None
    ) -> set[GroupRef]:
        """Takes a whole list (of one namespace); returns the groups for which it brought something new."""
        shelf, at = self._shelf(kind), int(resource_version)
        changed: set[GroupRef] = set()
        listed = set()
        for body in items:
            listed.add(body["metadata"]["uid"])
            if self.put(kind, body) and (ref := group_of(kind, body)):
                changed.add(ref)
        for key, body in list(shelf.objects.items()):
            missing = body["metadata"]["uid"] not in listed and version(body) <= at
            if missing and namespace in (None, key[0]):
                shelf.drop(key)
                if ref := group_of(kind, body):
                    changed.add(ref)
        shelf.removed = {uid: gone for uid, gone in shelf.removed.items() if gone > at}
        return changed

    def get(self, kind: Kind, namespace: str, name: str) -> JsonObject | None:
        """One object, or None."""
        return self._shelf(kind).objects.get((namespace, name))

    def of_group(self, kind: Kind, ref: GroupRef) -> tuple[JsonObject, ...]:
        """The objects with a group's label, by name."""
        return tuple(body for _, body in sorted(self._shelf(kind).groups.get(ref, {}).items()))

    def groups(self) -> Iterator[GroupRef]:
        """Every RobotGroup that is there."""
        for namespace, name in self._shelf(Kind.ROBOT_GROUP).objects:
            yield GroupRef(namespace, name)

    def _shelf(self, kind: Kind) -> _Shelf:
        if kind not in self._shelves:
            self._shelves[kind] = _Shelf(kind)
        return self._shelves[kind]
