"""The HTTP interface of a node."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp

from workbook.sandbox.isolation.box import IsolationError
from workbook.sandbox.service import docs_page, routes_execute, routes_files, routes_programs, routes_sessions
from workbook.sandbox.service.context import Service
from workbook.sandbox.service.gateway import BodyTooLarge, Gateway
from workbook.sandbox.service.logs import LOGGER
from workbook.sandbox.service.problems import KNOWN, Problem, invalid, problem_of

TITLE = "Sandbox"

_PROBLEM: dict[str, Any] = {
    "description": "A problem document (RFC 9457)",
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "required": ["type", "title", "status", "detail"],
                "properties": {
                    "type": {"type": "string", "format": "uri"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                },
            }
        }
    },
}


def make_app(service: Service) -> ASGIApp:
    """Returns the application that serves a node, which somebody else starts and ends."""
    app = FastAPI(
        title=TITLE,
        description="Sessions in which code is executed, each in a box of its own.",
        version="1",
        docs_url=None,
        redoc_url=None,
        responses={"4XX": _PROBLEM, "5XX": _PROBLEM},
    )
    for routes in (routes_sessions, routes_execute, routes_files, routes_programs):
        app.include_router(routes.router)
    _add_own_routes(app, service)
    for kind in (Exception, HTTPException, RequestValidationError, *KNOWN):  # the first, of mistakes of ours, is logged
        app.add_exception_handler(kind, _problem)
    return Gateway(app, service)


def _add_own_routes(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", tags=["service"], summary="Whether it is alive")
    async def health() -> dict[str, str]:
        """Says so."""
        return {"status": "alive"}

    @app.get("/readyz", tags=["service"], summary="Whether a session could be had now")
    async def ready() -> JSONResponse:
        """Tries what a session needs: room, a store that is written to, a box."""
        problems = await service.node.problems()
        return JSONResponse({"ready": not problems, "problems": problems}, 503 if problems else 200)

    @app.get("/metrics", tags=["service"], summary="What is counted, for Prometheus", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Returns it in Prometheus' text format."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        headers = {"Content-Security-Policy": docs_page.CONTENT_POLICY}
        return HTMLResponse(docs_page.page(app.openapi()), headers=headers)

    @app.get("/", include_in_schema=False)
    async def home() -> RedirectResponse:
        return RedirectResponse("docs")


async def _problem(_: Request, error: Exception) -> Response:
    if isinstance(error, BodyTooLarge):
        return error.problem.response()
    if isinstance(error, RequestValidationError):
        found = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()[:10]]
        return invalid("; ".join(found)).response()
    if isinstance(error, HTTPException):
        names = {404: ("unknown-path", "There is nothing at this path"), 405: ("method", "Not of this method")}
        name, title = names.get(error.status_code, ("request", "The request is refused"))
        return Problem(error.status_code, name, title, str(error.detail)).response()
    problem = problem_of(error)
    if isinstance(error, IsolationError):
        LOGGER.error("no box can be made", extra={"reason": str(error)[:1000]})
    return problem.response()
