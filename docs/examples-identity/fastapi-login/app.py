"""A small application that people sign in to with their Echo account."""

from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.responses import HTMLResponse

from ragecho_sdk.fastapi_login import EchoLogin, EchoPerson

app = FastAPI(title="Reports")
login = EchoLogin()
app.include_router(login.router)


@app.get("/")
async def home(person: Annotated[EchoPerson, Depends(login.person)]) -> HTMLResponse:
    """Greet who is signed in."""
    return HTMLResponse(
        f"Signed in as {person.email}. <form method=post action=/logout><button>Sign out</button></form>"
    )
