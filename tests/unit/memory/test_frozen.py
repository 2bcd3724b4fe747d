"""Frozen dataclasses that are made by the thousand are what their constructor makes."""

import copy
import pickle
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, asdict, dataclass, field, replace

import pytest

from robotgroups.frozen import maker


@dataclass(frozen=True, slots=True)
class Note:
    """A value."""

    id: int
    text: str = "none"
    more: Mapping[str, int] = field(default_factory=dict)

    def shout(self) -> str:
        return self.text.upper()


make_note = maker(Note)


def test_what_is_made_is_what_the_constructor_makes() -> None:
    made = make_note(1, more={"a": 1})
    assert type(made) is Note
    assert made == Note(1, "none", {"a": 1})
    assert repr(made) == "Note(id=1, text='none', more={'a': 1})"
    assert made.shout() == "NONE"
    assert asdict(made) == {"id": 1, "text": "none", "more": {"a": 1}}
    for same in (replace(made), copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert (type(same), same) == (Note, made)


def test_it_is_frozen() -> None:
    made = make_note(1)
    with pytest.raises(FrozenInstanceError):
        made.text = "other"  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        made.other = 1  # type: ignore[attr-defined]


def test_each_has_defaults_of_its_own() -> None:
    assert make_note(1).more is not make_note(2).more


def test_its_arguments_are_the_constructors() -> None:
    wrongs: list[tuple[object, ...]] = [(), (1, "a", {}, 4)]
    for wrong in wrongs:
        with pytest.raises(TypeError, match="argument"):
            make_note(*wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
        make_note(1, other=2)  # type: ignore[call-arg]


def test_a_class_that_does_more_is_refused() -> None:
    @dataclass(frozen=True, slots=True)
    class Checked:
        id: int

        def __post_init__(self) -> None:
            raise AssertionError("not called")

    @dataclass(frozen=True)
    class Loose:
        id: int

    @dataclass(frozen=True, slots=True)
    class Given:
        id: int = field(init=False, default=1)

    @dataclass(frozen=True, slots=True, weakref_slot=True)
    class Referred:
        id: int

    @dataclass(frozen=True, slots=True)
    class Heir(Referred):
        name: str

    @dataclass(frozen=True, slots=True, init=False)
    class Own:
        id: int

    for refused in (Checked, Loose, Given, Referred, Heir, Own):
        with pytest.raises(TypeError, match=refused.__name__):
            maker(refused)
