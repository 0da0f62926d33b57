"""Background work. procrastinate delivers; the `jobs` table says what the work is about and how it went."""
