"""Rules that turn the evidence about a plan into findings.

What PostgreSQL did on a scratch database decides, with sizes and rows of the live databases.
"""
