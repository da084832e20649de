"""The application: routes behind the guard, wired to services. `server.app` starts it on a port."""

from fastapi import FastAPI

from server.api import (
    admin,
    admin_access,
    admin_adapters,
    admin_documents,
    admin_index,
    admin_jobs,
    admin_keys,
    admin_quarantine,
    admin_runs,
    admin_versions,
    chat,
    completions,
    documents,
    embeddings,
    failures,
    feedback,
    files,
    fine_tuning,
    health,
    models,
    page,
    session,
)
from server.api.guard import Guard
from server.finetuning.runner import TrainingJobs
from server.index_jobs import IndexJobs
from server.ingest_run import IngestRunner
from server.services import Services

ROUTERS = (
    chat.router,
    completions.router,
    models.router,
    embeddings.router,
    documents.router,
    feedback.router,
    feedback.admin_router,
    files.router,
    fine_tuning.router,
    health.router,
    session.router,
    admin_access.router,
    admin_keys.router,
    admin_adapters.router,
    admin_documents.router,
    admin_index.router,
    admin_jobs.router,
    admin_quarantine.router,
    admin_runs.router,
    admin_versions.router,
    admin.router,
    page.router,
)


def create_app(services: Services) -> FastAPI:
    """The whole HTTP surface. No documentation pages, as they load scripts from elsewhere; /openapi.json is there."""
    app = FastAPI(title="housevoice", docs_url=None, redoc_url=None)
    app.state.services = services
    app.state.ingest = IngestRunner(services)
    app.state.index_jobs = IndexJobs(services)
    app.state.training_jobs = TrainingJobs(services)
    failures.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(Guard, services=services)
    return app
