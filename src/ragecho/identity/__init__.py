"""The OpenID Connect provider: protocol, accounts, pages and federation."""
