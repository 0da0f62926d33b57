"""Answer records and the audit trail."""
