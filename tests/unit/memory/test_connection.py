"""What a DSN becomes, and what each of Postgres' errors becomes."""

from uuid import UUID

import psycopg
import pytest
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict

from robotgroups import errors
from robotgroups.connection import checked_dsn, our_errors, raise_ours
from robotgroups.dsn import resolve_dsn
from robotgroups.presence import application_name, channel
from robotgroups.store import password_of, robot_dsn


def test_what_the_dsn_says_stays_and_the_rest_is_added() -> None:
    made = conninfo_to_dict(
        checked_dsn(
            "postgresql://me:hush@db:5433/x?sslmode=verify-full&sslrootcert=/ca.pem&connect_timeout=9"
            "&keepalives_idle=7&options=-c%20work_mem%3D1MB&application_name=theirs",
            application_name="ours",
        )
    )
    options = made.pop("options")
    assert made == {
        "user": "me",
        "password": "hush",
        "host": "db",
        "port": "5433",
        "dbname": "x",
        "sslmode": "verify-full",
        "sslrootcert": "/ca.pem",
        "connect_timeout": "9",
        "keepalives": "1",
        "keepalives_idle": "7",
        "keepalives_interval": "1",
        "keepalives_count": "3",
        "tcp_user_timeout": "4000",
        "application_name": "ours",
    }
    assert str(options).startswith("-c tcp_keepalives_idle=2 ")
    assert str(options).endswith(
        " -c client_connection_check_interval=1000 -c work_mem=1MB -c timezone=UTC -c datestyle=ISO"
    )


def test_a_dsn_that_cannot_be_read_is_not_repeated() -> None:
    with pytest.raises(errors.DatabaseConfigError) as refused:
        checked_dsn("postgresql://me:hush@[x", application_name="x")
    assert "hush" not in f"{refused.value!r}"
    assert password_of("postgresql://me:hush@[x") is None


def test_a_robots_dsn_differs_in_user_and_password_alone() -> None:
    made = robot_dsn("host=db dbname=x user=owner password=secret sslmode=require", "rg_1", "p w'")
    assert conninfo_to_dict(made) == {
        "host": "db",
        "dbname": "x",
        "user": "rg_1",
        "password": "p w'",
        "sslmode": "require",
    }
    assert password_of(made) == "p w'"
    assert password_of("host=db") is None


def test_the_dsn_is_the_argument_else_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOTGROUPS_DSN", "host=variable")
    assert resolve_dsn("host=argument") == "host=argument"
    assert resolve_dsn(None) == "host=variable"


class Raised(psycopg.errors.RaiseException):
    """An error of our SQL functions, as psycopg raises it: its SQLSTATE is ours."""

    def __init__(self, state: str) -> None:
        super().__init__(f"message of {state}")
        self.sqlstate = state


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("RG001", errors.NotActiveError),
        ("RG002", errors.UnknownGroupError),
        ("RG003", errors.UnknownRobotError),
        ("RG004", errors.NoPassiveRobotError),
        ("RG005", errors.LastActiveRobotError),
        ("RG006", errors.AlreadyMemberError),
        ("RG007", errors.HostedElsewhereError),
        ("RG008", errors.IdempotencyConflictError),
        ("RG010", errors.NoActiveRobotError),
        ("RG011", errors.UnknownMemoryError),
        ("RG012", errors.ArgumentError),
        ("RG013", errors.NotWarmError),
        ("42501", errors.NotPermittedError),
        ("42883", errors.SchemaVersionError),
        ("3F000", errors.SchemaVersionError),
        ("42P01", errors.SchemaVersionError),
    ],
)
def test_each_sqlstate_has_its_error(state: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=f"message of {state}") as raised:
        raise_ours(Raised(state))
    assert type(raised.value) is kind


@pytest.mark.parametrize(
    ("theirs", "kind", "message"),
    [
        (pg.AdminShutdown("terminating"), errors.MemoryUnavailableError, "Postgres is not available: terminating"),
        (psycopg.OperationalError("refused"), errors.MemoryUnavailableError, "Postgres is not available: refused"),
        (psycopg.InterfaceError("closed"), errors.MemoryUnavailableError, "Postgres is not available: closed"),
        (pg.ReadOnlySqlTransaction("read-only"), errors.MemoryUnavailableError, "point the DSN at the primary"),
        (pg.ProgramLimitExceeded("too long"), errors.ArgumentError, "too large for Postgres: too long"),
        (pg.NumericValueOutOfRange("out of range"), errors.ArgumentError, "out of range"),
        (pg.CheckViolation("violates"), errors.ArgumentError, "violates"),
        (
            psycopg.OperationalError("FATAL: unsupported startup parameter: x"),
            errors.PoolerError,
            "point the DSN at Postgres itself",
        ),
    ],
)
def test_postgres_own_errors(theirs: psycopg.Error, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as raised:
        raise_ours(theirs)
    assert type(raised.value) is kind
    assert raised.value.__cause__ is theirs


def test_what_we_have_no_word_for_stays_as_it_is() -> None:
    with pytest.raises(pg.SyntaxError):
        raise_ours(pg.SyntaxError("bug"))


async def test_text_that_is_no_unicode_is_named() -> None:
    with pytest.raises(errors.ArgumentError, match="lone surrogate at character 1"):
        async with our_errors():
            "a\ud800".encode()


def test_names_stay_within_postgres_63_bytes() -> None:
    assert channel(2**63 - 1) == "rg_9223372036854775807"
    assert application_name(UUID(int=0)) == "robotgroups 00000000-0000-0000-0000-000000000000"
    assert len(application_name(UUID(int=2**128 - 1))) < 64
