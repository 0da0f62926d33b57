"""The HTTP edge that every role shares: application, problems, limits, health, pages, documentation."""

from ragecho.platform.http.app import create_app
from ragecho.platform.http.health import Check, health_router, metrics_router
from ragecho.platform.http.pages import Page, PageParams, page_params
from ragecho.platform.http.problems import Problem, problem_response, status_of
from ragecho.platform.http.settings import HttpSettings
from ragecho.platform.http.text import CleanText

__all__ = [
    "Check",
    "CleanText",
    "HttpSettings",
    "Page",
    "PageParams",
    "Problem",
    "create_app",
    "health_router",
    "metrics_router",
    "page_params",
    "problem_response",
    "status_of",
]
