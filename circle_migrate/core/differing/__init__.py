"""From two snapshots to what is to be said about them: `judging` is where differences are weighed."""
