"""Django's ORM on psycopg 3, a thread with its own connection for each client: PORT CLIENTS PART.

BINDING=server in the environment lets the server bind parameters, with statements prepared at their second use; Django's default is to
bind them in the client. Prints one JSON line for each step of each client.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime

import django
from django.conf import settings
from playing import CLIENTS, PORT, barrier, play, printing, say

ON_THE_SERVER = os.environ.get("BINDING") == "server"

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": "127.0.0.1",
            "PORT": PORT,
            "NAME": "app",
            "USER": "app",
            "PASSWORD": os.environ["PGPASSWORD"],
            "CONN_MAX_AGE": None,
            # Another one than the server's: Django sets it on each connection.
            "TIME_ZONE": "Asia/Tokyo",
            "OPTIONS": {"server_side_binding": True, "prepare_threshold": 2} if ON_THE_SERVER else {},
        }
    },
)
django.setup()

from django.contrib.auth.models import Group, User  # noqa: E402
from django.contrib.postgres.fields import ArrayField  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import DatabaseError, IntegrityError, connection, models, transaction  # noqa: E402
from django.db.models import Count, F, Prefetch, Sum  # noqa: E402
from django.db.models.functions import TruncDate  # noqa: E402

MOMENT = datetime(2024, 2, 28, 20, 30, tzinfo=UTC)


class Shelf(models.Model):
    owner = models.IntegerField()
    name = models.CharField(max_length=50, unique=True)

    class Meta:
        app_label = "library"


class Book(models.Model):
    shelf = models.ForeignKey(Shelf, models.CASCADE, related_name="books")
    title = models.CharField(max_length=50)
    copies = models.IntegerField(default=1)
    printed = models.DateTimeField(default=MOMENT)
    labels = ArrayField(models.TextField(), default=list)
    details = models.JSONField(default=dict)
    cover = models.BinaryField(default=b"")

    class Meta:
        app_label = "library"
        constraints = [models.UniqueConstraint(fields=["shelf", "title"], name="one_of_a_title")]


def titles(books) -> list[str]:
    return [book.title for book in books]


def everyday(me: int) -> None:
    shelf = Shelf.objects.create(owner=me, name=f"shelf {me}")
    book = Book.objects.create(
        shelf=shelf, title="first", labels=["a", "ß"], details={"pages": [1, {"x": None}]}, cover=b"\0\1\xff"
    )
    found = Book.objects.get(pk=book.pk)
    say(me, "create", found.title, found.labels, found.details, bytes(found.cover).hex(), found.printed)
    made = Book.objects.bulk_create(
        [Book(shelf=shelf, title=f"book {number:03}", copies=number) for number in range(120)], batch_size=50
    )
    Book.objects.bulk_create([Book(shelf=shelf, title="first"), Book(shelf=shelf, title="second")], ignore_conflicts=True)
    say(me, "bulk create", len(made), all(one.pk for one in made), shelf.books.count())
    Book.objects.bulk_update([Book(pk=one.pk, copies=one.copies * 2) for one in made[:10]], ["copies"])
    mine = Book.objects.filter(shelf__owner=me)
    say(
        me,
        "filter",
        titles(mine.filter(title__startswith="book 01", copies__gte=15).order_by("-title")),
        mine.aggregate(Sum("copies")),
        list(mine.annotate(day=TruncDate("printed")).values("day").annotate(n=Count("pk"))),
        mine.filter(details__pages__0=1).count(),
        mine.filter(labels__contains=["ß"]).exists(),
    )
    for number in range(20):
        assert Book.objects.get(shelf=shelf, title=f"book {number:03}").shelf_id == shelf.pk
    other = Shelf.objects.create(owner=me, name=f"shelf {me} b")
    other.books.create(title="alone")
    fetching = Prefetch("books", Book.objects.filter(copies__lt=5).order_by("title"))
    shelves = Shelf.objects.filter(owner=me).order_by("name").prefetch_related(fetching)
    say(me, "prefetch_related", [[shelf.name, titles(shelf.books.all())] for shelf in shelves])
    joined = Book.objects.select_related("shelf").filter(title__in=["alone", "first"], shelf__owner=me)
    say(me, "select_related", sorted(f"{one.title} on {one.shelf.name}" for one in joined))
    mine.filter(title="first").update(copies=F("copies") + 10)
    say(me, "update and delete", mine.get(title="first").copies, other.books.all().delete()[0])
    transactions(me, shelf)
    with transaction.atomic():
        numbers = [one.copies for one in mine.filter(title__startswith="book").order_by("title").iterator(chunk_size=30)]
    say(me, "server-side cursor in a transaction", sum(numbers), len(numbers))
    group, _ = Group.objects.get_or_create(name=f"group {me}")
    user = User.objects.create(username=f"user {me}")
    user.groups.add(group)
    say(me, "many to many", [one.username for one in group.user_set.all()])
    with connection.cursor() as cursor:
        cursor.execute("select %s::int + 1, current_setting('timezone')", [me])
        say(me, "raw", cursor.fetchall())


def transactions(me: int, shelf: Shelf) -> None:
    after: list[str] = []
    with transaction.atomic():
        transaction.on_commit(lambda: after.append("committed"))
        Book.objects.create(shelf=shelf, title="stays")
        try:
            with transaction.atomic():
                Book.objects.create(shelf=shelf, title="goes")
                Book.objects.create(shelf=shelf, title="stays")
        except IntegrityError as error:
            after.append(error.__cause__.sqlstate)
        Book.objects.create(shelf=shelf, title="stays too")
    try:
        with transaction.atomic():
            transaction.on_commit(lambda: after.append("never"))
            Book.objects.create(shelf=shelf, title="lost")
            Book.objects.filter(pk__in=[1 << 70]).exists()
            with connection.cursor() as cursor:
                cursor.execute("select 1 / %s", [0])
    except DatabaseError as error:
        after.append(error.__cause__.sqlstate)
    left = Book.objects.filter(shelf=shelf, title__in=["stays", "goes", "stays too", "lost"]).order_by("title")
    say(me, "atomic", after, titles(left))
    # All clients count the same row up.
    shared, _ = Shelf.objects.get_or_create(name="shared", defaults={"owner": 1000})
    for _ in range(10):
        with transaction.atomic():
            locked = Shelf.objects.select_for_update().get(pk=shared.pk)
            locked.owner += 1
            locked.save(update_fields=["owner"])
    barrier.wait(30)
    say(me, "select_for_update", Shelf.objects.get(name="shared").owner)


def set_(me: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"set statement_timeout to {10000 + me}")
        cursor.execute("select set_config('search_path', %s, false)", [f"of_{me}, public"])
        barrier.wait(30)
        seen = set()
        for _ in range(30):
            cursor.execute("select current_setting('statement_timeout'), current_setting('search_path')")
            seen.add(cursor.fetchone())
        say(me, "set", sorted(seen))
        cursor.execute("reset statement_timeout")
        cursor.execute("reset all")
        cursor.execute("select current_setting('statement_timeout'), current_setting('search_path')")
        say(me, "reset", cursor.fetchone())


def listen(me: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("listen everyone")
        cursor.execute(f"listen mine_{me}")
        barrier.wait(30)
        cursor.execute("select pg_notify('everyone', %s)", [f"from {me}"])
        cursor.execute(f"notify mine_{me}, 'to me'")
        got = connection.connection.notifies(timeout=20, stop_after=1)
        heard = set()
        while len(heard) <= CLIENTS:
            found = list(got)
            if not found:
                break
            heard |= {f"{one.channel}: {one.payload}" for one in found}
            got = connection.connection.notifies(timeout=20, stop_after=1)
        say(me, "heard", sorted(heard))
        cursor.execute("unlisten *")
    say(me, "still", Shelf.objects.count())


def hold(me: int) -> None:
    """Outside of a transaction `iterator` declares its cursor WITH HOLD. One client after the other is in there."""
    shelf = Shelf.objects.create(owner=me, name=f"shelf {me}")
    Book.objects.bulk_create([Book(shelf=shelf, title=f"book {number:03}", copies=number) for number in range(120)])
    for _ in range(3):
        with printing:
            walk = Book.objects.filter(shelf=shelf).order_by("title").iterator(chunk_size=20)
            first = next(walk).copies
            others = Shelf.objects.filter(owner=me).count()
            rest = sum(book.copies for book in walk)
        for number in range(10):
            assert Book.objects.get(shelf=shelf, title=f"book {number:03}").copies == number
        say(me, "server-side cursor with hold", first, others, rest)


def closing_its_connection(part: Callable[[int], None]) -> Callable[[int], None]:
    def played(me: int) -> None:
        try:
            part(me)
        finally:
            connection.close()

    return played


def main() -> None:
    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        editor.create_model(Shelf)
        editor.create_model(Book)
    # A change of a table that is in use: add a column, fill it, take it away.
    field = models.IntegerField(default=7)
    field.set_attributes_from_name("extra")
    with connection.schema_editor() as editor:
        editor.add_field(Book, field)
        editor.remove_field(Book, field)
    say(0, "schema", sorted(connection.introspection.table_names()))
    connection.close()
    parts = {"everyday": everyday, "set": set_, "listen": listen, "hold": hold}
    play({name: closing_its_connection(part) for name, part in parts.items()})


main()
