"""The status page: a template, its style sheet, and the routes of both."""
