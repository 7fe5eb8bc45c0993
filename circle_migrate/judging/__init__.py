"""Judging a plan: the evidence there is, and what people have decided to live with.

evidence    the trace, and the live databases or statistics in a file
ignores     what revision files say is to be ignored, and `baseline`, what was there before anybody looked
settled     which findings stand after that
findings    verdicts as findings of any report
gate        the same before an upgrade, which it can stop
stats_file  statistics as a file
"""
