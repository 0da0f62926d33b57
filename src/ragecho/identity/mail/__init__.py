"""Mail of the identity service: templates, a durable outbox, delivery by SMTP."""
