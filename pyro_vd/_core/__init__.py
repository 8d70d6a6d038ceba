"""Errors, checks of arguments, messages, extras, and files that are written atomically and read safely."""
