"""The browser app's gateway: it signs in at the identity service like any client, and keeps the tokens to itself."""
