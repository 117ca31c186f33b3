"""What lies between hosts: pure objects, the same on both benches."""
