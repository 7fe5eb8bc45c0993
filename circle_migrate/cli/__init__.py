"""The command line: commands by group, their options, output, progress and prompts."""
