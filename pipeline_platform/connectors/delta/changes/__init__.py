"""Mode `applyChanges`: a table, or its history, from changes or from snapshots."""
