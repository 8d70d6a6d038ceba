"""The report page: runs, or a compression, as one file of HTML. Each section is a file; :mod:`.page` puts them together."""
