"""Pictures of a `Trace`, and the explorer around them. Nothing but the package's face imports this."""
