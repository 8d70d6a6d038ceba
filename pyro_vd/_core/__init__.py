"""What everything else stands on: errors, checks of arguments, messages, files written atomically and read safely."""
