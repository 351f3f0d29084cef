"""A FastAPI service on SQLAlchemy's asynchronous engine and asyncpg, all at their defaults: PORT CLIENTS PART.

It is served in this process to httpx, which calls it as CLIENTS users at once. Prints one JSON line for each step of
each user.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager

import httpx
from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy import ForeignKey, UniqueConstraint, func, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, joinedload, mapped_column, relationship, selectinload

PORT, CLIENTS, PART = sys.argv[1], int(sys.argv[2]), sys.argv[3]
ADDRESS = f"app:{os.environ['PGPASSWORD']}@127.0.0.1:{PORT}/app"
PAGE = 7
# What a user may wait for an answer; the sleeper waits longer.
PATIENCE_SECONDS = 0.3


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[int]
    name: Mapped[str] = mapped_column(unique=True)
    books: Mapped[list[Book]] = relationship(back_populates="author", order_by="Book.title")


class Book(Base):
    __tablename__ = "book"
    __table_args__ = (UniqueConstraint("author_id", "title"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))
    title: Mapped[str]
    author: Mapped[Author] = relationship(back_populates="books")


class NewAuthor(BaseModel):
    owner: int
    name: str
    books: list[str] = []


engine = create_async_engine(f"postgresql+asyncpg://{ADDRESS}")
sessions = async_sessionmaker(engine, expire_on_commit=False)


@asynccontextmanager
async def lifespan(_: FastAPI):
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


async def session():
    async with sessions() as opened:
        yield opened


@app.post("/authors", status_code=201)
async def create(new: NewAuthor, db: AsyncSession = Depends(session)):
    author = Author(owner=new.owner, name=new.name, books=[Book(title=title) for title in new.books])
    db.add(author)
    try:
        await db.commit()
    except IntegrityError as error:
        await db.rollback()
        raise HTTPException(409, error.orig.sqlstate) from error
    return {"name": author.name, "has id": author.id is not None}


@app.post("/authors/bulk", status_code=201)
async def create_many(new: list[NewAuthor], db: AsyncSession = Depends(session)):
    rows = [{"owner": author.owner, "name": author.name} for author in new]
    async with db.begin():
        made = (await db.scalars(insert(Author).returning(Author, sort_by_parameter_order=True), rows)).all()
        books = [{"author_id": author.id, "title": f"about {author.name}"} for author in made]
        await db.execute(insert(Book), books)
    return {"made": [author.name for author in made]}


@app.get("/authors")
async def page(owner: int, after: str = "", loading: str = "select", db: AsyncSession = Depends(session)):
    eager = {"select": selectinload(Author.books), "join": joinedload(Author.books)}[loading]
    query = select(Author).where(Author.owner == owner, Author.name > after).order_by(Author.name).limit(PAGE)
    found = (await db.scalars(query.options(eager))).unique().all()
    return [{"name": author.name, "books": [book.title for book in author.books]} for author in found]


@app.post("/authors/{name}/books/{title}")
async def add_book(name: str, title: str, db: AsyncSession = Depends(session)):
    """A book that is there already fails in its savepoint; what was done before it stays."""
    async with db.begin():
        author = (await db.scalars(select(Author).where(Author.name == name).with_for_update())).one()
        author.owner += 0
        try:
            async with db.begin_nested():
                db.add(Book(author_id=author.id, title=title))
        except IntegrityError:
            return {"added": False, "books": await db.scalar(select(func.count()).where(Book.author_id == author.id))}
        return {"added": True}


@app.get("/stream")
async def stream(count: int, db: AsyncSession = Depends(session)):
    rows = await db.stream(select(func.generate_series(1, count)))
    return {"sum": sum([row[0] async for row in rows])}


@app.get("/slow")
async def slow(db: AsyncSession = Depends(session)):
    """asyncpg cancels on the server what is given up here."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await db.execute(select(func.pg_sleep(60)))
    except TimeoutError as error:
        raise HTTPException(504) from error


@app.get("/fails")
async def fails(db: AsyncSession = Depends(session)):
    try:
        await db.execute(text("select 1 / :zero"), {"zero": 0})
    except DBAPIError as error:
        again = "refused"
        try:
            await db.execute(text("select 1"))
        except DBAPIError as second:
            again = second.orig.sqlstate
        return {"error": error.orig.sqlstate, "then": again}


def say(me: int, step: str, *values) -> None:
    print(json.dumps({"client": me, "step": step, "values": values}), flush=True)


def answer(response: httpx.Response) -> list:
    return [response.status_code, response.json()]


async def everyday(web: httpx.AsyncClient, me: int) -> None:
    books = ["one", "two", "three"]
    new = {"owner": me, "name": f"author {me}", "books": books}
    say(me, "create", answer(await web.post("/authors", json=new)), answer(await web.post("/authors", json=new)))
    many = [{"owner": me, "name": f"author {me} {number:03}"} for number in range(40)]
    say(me, "bulk", answer(await web.post("/authors/bulk", json=many)))
    again = await asyncio.gather(*(web.post("/authors", json=many[number]) for number in range(20)))
    say(me, "conflicts", [answer(response) for response in again])
    for loading in ("select", "join"):
        pages, after = [], ""
        while True:
            got = (await web.get("/authors", params={"owner": me, "after": after, "loading": loading})).json()
            if not got:
                break
            pages.append(got)
            after = got[-1]["name"]
        say(me, f"{loading} eagerly, page by page", pages)
    say(me, "savepoint", [answer(await web.post(f"/authors/author {me}/books/{title}")) for title in ("one", "four")])
    say(me, "stream", answer(await web.get("/stream", params={"count": 500})))
    say(me, "error", answer(await web.get("/fails")))
    say(me, "cancel", (await web.get("/slow")).status_code)
    both = await asyncio.gather(*(web.get("/authors", params={"owner": me, "after": f"author {me} 0{n}"}) for n in range(20)))
    say(me, "at once", [len(response.json()) for response in both])


async def main() -> None:
    play = {"everyday": everyday}[PART]
    transport = httpx.ASGITransport(app)
    async with lifespan(app), httpx.AsyncClient(transport=transport, base_url="http://service", timeout=40) as web:
        await asyncio.gather(*(play(web, me) for me in range(1, CLIENTS + 1)))


asyncio.run(main())
