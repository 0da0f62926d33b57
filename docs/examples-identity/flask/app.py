"""An API of your own that Echo's identity service protects."""

from flask import Flask

from ragecho_sdk.flask import current_user, require

app = Flask(__name__)


@app.get("/reports")
@require("documents:read")
def list_reports() -> dict[str, object]:
    """List the reports."""
    user = current_user()
    return {"reports": ["2026-q3"], "caller": user.client_id if user.is_service else user.subject}


@app.post("/reports")
@require("documents:write")
def make_report() -> dict[str, str]:
    """Make a report."""
    return {"made_by": current_user().subject}
