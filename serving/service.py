"""The service: what it opens, in which order, and which routes it has.

    build(config) ─▶ FastAPI ─▶ while it runs: app.state.{config, access, store, index, feed}

Conventions: handlers find what is open at `request.app.state`; `index` and `feed` are None where there are
none.
"""

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version

from fastapi import APIRouter, FastAPI

from moodstream.serving.access import gate, session
from moodstream.serving.access.guard import Access
from moodstream.serving.api import analysis, documented, media, models, operations, problems, search, sound
from moodstream.serving.api.measures import Measures
from moodstream.serving.api.page import Page
from moodstream.serving.api.work import Workers
from moodstream.serving.config import ServeConfig
from moodstream.serving.live import routes as live
from moodstream.serving.store.store import Store


def routers() -> list[APIRouter]:
    """The routes, by what they are about."""
    return [
        operations.router,
        session.router,
        media.router,
        analysis.router,
        search.router,
        sound.router,
        models.router,
        live.router,
    ]


def build(config: ServeConfig) -> FastAPI:
    """The application; but for keys and the audit log, nothing is opened before it starts.

    Raises:
        UsageError: it would listen for others without keys. When it starts: there is no lake, or what else
            the configuration names is not there.
    """
    app = FastAPI(
        title="moodstream",
        version=version("moodstream"),
        summary="Valence-arousal curves and emotion episodes of what a lake holds.",
        docs_url=None,  # they come from a CDN
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_open,
    )
    app.state.config = config
    app.state.store = app.state.index = app.state.feed = app.state.failed = None
    problems.install(app)
    documented.install(app)
    for router in routers():
        app.include_router(router)
    app.router.default = Page()  # whatever is no route is a file of the page, or is not there
    app.state.measures = Measures()
    gate.install(app, Access(config), app.state.measures)
    return app


def _tell(app: FastAPI, kind: object, error: BaseException | None, trace: object) -> None:
    """Keep what ended the service, for whoever started it: uvicorn only logs it."""
    app.state.failed = error


@asynccontextmanager
async def _open(app: FastAPI) -> AsyncIterator[None]:
    """Open what the handlers need, close it in reverse."""
    async with AsyncExitStack() as stack:
        stack.callback(app.state.access.close)
        stack.push(functools.partial(_tell, app))
        store = app.state.store = await asyncio.to_thread(Store, app.state.config)
        stack.callback(store.close)
        app.state.workers = Workers()
        stack.callback(app.state.workers.close)
        app.state.measures.watch(store)
        store.start()
        await stack.enter_async_context(live.feeding(app))
        if app.state.feed is not None:
            app.state.measures.watch_live(app.state.feed.measures)
        yield
