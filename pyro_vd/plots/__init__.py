"""Pictures with matplotlib: one function per picture."""
