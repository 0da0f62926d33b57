"""Sign-in with another OpenID provider: Google, an organisation's own, any that speaks the standard."""
