"""A program that calls such an API as itself: it gets its token, keeps it, and renews it."""

import os
import sys

import httpx

from ragecho_sdk.client_credentials import ClientCredentials

with httpx.Client(base_url=os.environ["REPORTS_URL"], auth=ClientCredentials.from_env(scope="documents:read")) as http:
    sys.stdout.write(http.get("/reports").raise_for_status().text + "\n")
