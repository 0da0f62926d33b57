"""The few words of the gateway's pages in the browser's language; English is what the code says."""

from collections.abc import Callable

from starlette.requests import Request

from ragecho.identity.pages.language import choose_language

GERMAN = {
    "Not signed in": "Nicht angemeldet",
    "Signed in": "Angemeldet",
    "You are signed in as": "Angemeldet als",
    "API reference": "API-Referenz",
    "Your account": "Ihr Konto",
    "Sign out": "Abmelden",
    "Sign out everywhere": "Überall abmelden",
    "Welcome to Echo": "Willkommen bei Echo",
    "You are signed out.": "Sie sind abgemeldet.",
    "Sign in": "Anmelden",
    "You are not signed in": "Sie sind nicht angemeldet",
    "Sign in again": "Erneut anmelden",
    "Request": "Anfrage",
    "The answer did not come from the identity service.": "Die Antwort kam nicht vom Anmeldedienst.",
    "The sign-in was not completed in time. Please try again.": (
        "Die Anmeldung wurde nicht rechtzeitig abgeschlossen. Bitte versuchen Sie es noch einmal."
    ),
    "The identity service does not answer at the moment. Please try again.": (
        "Der Anmeldedienst antwortet gerade nicht. Bitte versuchen Sie es noch einmal."
    ),
    "This sign-in was begun in another browser, or too long ago.": (
        "Diese Anmeldung begann in einem anderen Browser oder vor zu langer Zeit."
    ),
    "This sign-in page was used already, or has expired.": (
        "Diese Anmeldeseite wurde schon benutzt oder ist abgelaufen."
    ),
    "You did not allow the sign-in, or it was refused.": (
        "Sie haben die Anmeldung nicht erlaubt, oder sie wurde abgelehnt."
    ),
    "The identity service could not sign you in at the moment. Please try again.": (
        "Der Anmeldedienst konnte Sie gerade nicht anmelden. Bitte versuchen Sie es noch einmal."
    ),
    "The sign-in did not work. Please try again.": (
        "Die Anmeldung hat nicht geklappt. Bitte versuchen Sie es noch einmal."
    ),
}


def language_of(request: Request) -> str:
    """Return the language of a page for this browser: en or de."""
    return choose_language((), request.headers.get("accept-language", "")).tag


def translator(language: str) -> Callable[[str], str]:
    """Return what gives an English text in this language; a text that is not known stays English."""
    return (lambda text: GERMAN.get(text, text)) if language == "de" else str
