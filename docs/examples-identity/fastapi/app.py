"""An API of your own that Echo's identity service protects."""

from typing import Annotated

from fastapi import Depends, FastAPI

from ragecho_sdk.fastapi import EchoUser, current_user

app = FastAPI(title="Reports")
Reader = Annotated[EchoUser, Depends(current_user("documents:read"))]
Writer = Annotated[EchoUser, Depends(current_user("documents:write"))]


@app.get("/reports")
async def list_reports(user: Reader) -> dict[str, object]:
    """List the reports."""
    return {"reports": ["2026-q3"], "caller": user.client_id if user.is_service else user.subject}


@app.post("/reports")
async def make_report(user: Writer) -> dict[str, str]:
    """Make a report."""
    return {"made_by": user.subject}
